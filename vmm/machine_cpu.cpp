// The vCPU threads.
#include <utility>

#include "vmm/machine.hpp"

namespace penumbra::vmm {

namespace {

template <class... Fs>
struct Overloaded : Fs... {
    using Fs::operator()...;
};

}  // namespace

void Machine::run_cpu(std::uint32_t index) {
    Cpu& cpu = cpus_[index];
    if (!cpu.vcpu) {
        return platform_->play(index, bus_, [this] { return wish_.load(std::memory_order_relaxed) == Wish::end; });
    }
    cpu.thread_id.store(current_tid(), std::memory_order_seq_cst);
    Result<> result;
    if (Result<Vcpu::Attachment> attachment = cpu.vcpu->attach()) {
        result = run_guest(index, *attachment);
    } else {
        result = std::unexpected{std::move(attachment).error()};
    }
    cpu.thread_id.store(0, std::memory_order_seq_cst);
    if (!result) end_with(result.error());
    const MutexLock lock(mutex_);
    changed_.notify_all();
}

Result<> Machine::run_guest(std::uint32_t index, Vcpu::Attachment& attachment) {
    Vcpu& vcpu = *cpus_[index].vcpu;
    for (;;) {
        vcpu.clear_exit_request();
        if (const Wish wish = wish_.load(std::memory_order_seq_cst); wish != Wish::run) {
            if (wish == Wish::park) PENUMBRA_TRY(finish_access(index, attachment));
            if (next_wish() == Wish::end) return {};
            vcpu.tell_it_stood_still();
            continue;
        }
        PENUMBRA_TRY_ASSIGN(const Exit exit, attachment.run());
        PENUMBRA_TRY(handle(index, exit));
    }
}

// A parked vCPU's state is whole: the answer to its last access to a device would else find the registers of after a
// reset. One instruction's accesses are few.
Result<> Machine::finish_access(std::uint32_t index, Vcpu::Attachment& attachment) {
    for (;;) {
        PENUMBRA_TRY_ASSIGN(const Exit exit, attachment.finish_access());
        if (std::holds_alternative<InterruptedExit>(exit)) return {};
        PENUMBRA_TRY(handle(index, exit));
    }
}

Machine::Wish Machine::next_wish() {
    {
        const MutexLock lock(mutex_);
        ++parked_;
        changed_.notify_all();
    }
    while (stay_parked() == Parked::must_reset) perform_reset();
    return wish_.load(std::memory_order_seq_cst);
}

Machine::Parked Machine::stay_parked() {
    const MutexLock lock(mutex_);
    for (;;) {
        const Wish wish = wish_.load(std::memory_order_seq_cst);
        if (wish == Wish::end) break;
        // One of them does what needs everybody out of the guest; a paused machine has them all here already.
        if (reset_wanted_ && !resetting_ && parked_ == cpus_.size()) {
            reset_wanted_ = false;
            resetting_ = true;
            return Parked::must_reset;
        }
        if (wish == Wish::run && !resetting_) break;
        changed_.wait(mutex_);
    }
    --parked_;
    return Parked::may_leave;
}

void Machine::perform_reset() {
    const Result<> done = start_over();
    if (!done) end_with(done.error());
    bool runs_on = false;
    {
        const MutexLock lock(mutex_);
        ++reset_count_;
        resetting_ = false;
        // A pause or another reset may have been asked for meanwhile.
        runs_on = state_ == MachineState::running && !reset_wanted_;
        if (runs_on) wish_.store(Wish::run, std::memory_order_seq_cst);
        changed_.notify_all();
    }
    if (runs_on) follow_with_devices();
}

Result<> Machine::handle(std::uint32_t index, const Exit& exit) {
    const std::string name = "vCPU " + std::to_string(index);
    return std::visit(
        Overloaded{
            [&](const MmioExit& e) -> Result<> {
                if (e.access == Access::read) {
                    bus_.read_mmio(e.gpa, e.data);
                } else {
                    bus_.write_mmio(e.gpa, e.data);
                }
                return {};
            },
            [&](const PortExit& e) -> Result<> {
                if (e.access == Access::read) {
                    bus_.read_port(e.port, e.size, e.data);
                } else {
                    bus_.write_port(e.port, e.size, e.data);
                }
                return {};
            },
            [](const InterruptedExit&) -> Result<> { return {}; },
            [&](const HaltExit&) -> Result<> { return platform_->halted(index); },
            [&](const ShutdownExit&) -> Result<> { return platform_->shut_down(index); },
            [&](const InternalErrorExit& e) -> Result<> { return platform_->gave_up(index, *cpus_[index].vcpu, e); },
            [&](const MemoryFaultExit&) -> Result<> {
                return fail("run on", name + ": KVM could not reach guest memory");
            },
            [&](const UnexpectedExit& e) -> Result<> {
                return fail("run on", name + ": KVM exit reason " + std::to_string(e.reason));
            },
        },
        exit);
}

}  // namespace penumbra::vmm
