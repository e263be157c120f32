// The vCPU threads.
#include <utility>

#include "base/assert.hpp"
#include "guest-images/common/churn_core.hpp"
#include "vmm/boot/boot_state.hpp"
#include "vmm/machine.hpp"

namespace penumbra::vmm {

namespace {

template <class... Fs>
struct Overloaded : Fs... {
    using Fs::operator()...;
};

/// Thrown into the workload of a host thread when its machine ends: unlike a vCPU it cannot be taken out from outside.
struct WorkloadStopped {};

/// The machine that churn sees when host threads play its vCPUs: the same memory, bus and devices, no KVM.
class HostPlatform {
public:
    HostPlatform(MemorySystem& memory, Bus& bus, const Payload& payload, unsigned cpu, ThreadRegister::Entry& entry,
                 std::function<bool()> stopped)
        : memory_(memory), bus_(bus), payload_(payload), cpu_(cpu), entry_(entry), stopped_(std::move(stopped)) {}

    std::uint8_t* ram(std::uint64_t gpa) {
        const auto page = memory_.layout().window_page_of(frame_of(Gpa{gpa}));
        PENUMBRA_ASSERT(page.has_value(), "the workload left its memory");
        return reinterpret_cast<std::uint8_t*>(pointer_to(memory_.window_pages().first() + *page)) +
               page_offset(Gpa{gpa});
    }
    const std::uint8_t* payload(std::uint64_t page) {
        return reinterpret_cast<const std::uint8_t*>(pointer_to(payload_.first() + page));
    }
    std::uint64_t mmio_read(std::uint64_t gpa) {
        std::uint64_t value = 0;
        outside([&] { bus_.read_mmio(Gpa{gpa}, std::as_writable_bytes(std::span{&value, 1})); });
        return value;
    }
    void mmio_write(std::uint64_t gpa, std::uint64_t value) {
        outside([&] { bus_.write_mmio(Gpa{gpa}, std::as_bytes(std::span{&value, 1})); });
    }
    unsigned cpu() { return cpu_; }
    void relax() {
        if (stopped_()) throw WorkloadStopped{};
        __builtin_ia32_pause();
    }

private:
    /// Device models may not fault on guest memory, whoever's thread they run on.
    template <class Fn>
    void outside(Fn&& fn) {
        if (stopped_()) throw WorkloadStopped{};
        entry_.in_guest.store(false, std::memory_order_release);
        fn();
        entry_.in_guest.store(true, std::memory_order_release);
    }

    MemorySystem& memory_;
    Bus& bus_;
    const Payload& payload_;
    unsigned cpu_;
    ThreadRegister::Entry& entry_;
    std::function<bool()> stopped_;
};

}  // namespace

void Machine::run_cpu(std::uint32_t index) {
    if (options_.backend == Backend::host_threads) return run_host_thread(index);
    Cpu& cpu = cpus_[index];
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
    PENUMBRA_TRY(vcpu.set_long_mode(boot_entry(index)));
    for (;;) {
        vcpu.clear_exit_request();
        if (wish_.load(std::memory_order_seq_cst) != Wish::run) {
            const std::uint64_t resets_before = reset_count();
            if (next_wish() == Wish::end) return {};
            if (reset_count() != resets_before) PENUMBRA_TRY(vcpu.set_long_mode(boot_entry(index)));
            continue;
        }
        PENUMBRA_TRY_ASSIGN(const Exit exit, attachment.run());
        PENUMBRA_TRY(handle(index, exit));
    }
}

std::uint64_t Machine::reset_count() const {
    const MutexLock lock(mutex_);
    return reset_count_;
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
    if (accelerator_) accelerator_->reset();
    memory_->discard_everything();
    const Result<> loaded = load();
    if (!loaded) end_with(loaded.error());
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
            [&](const HaltExit&) -> Result<> { return fail("run on", name + " halted with no interrupt to wake it"); },
            [&](const ShutdownExit&) -> Result<> { return fail("run on", name + " shut down (triple fault)"); },
            [&](const InternalErrorExit& e) -> Result<> {
                return fail("run on", name + ": KVM internal error " + std::to_string(e.suberror));
            },
            [&](const MemoryFaultExit&) -> Result<> {
                return fail("run on", name + ": KVM could not reach guest memory");
            },
            [&](const UnexpectedExit& e) -> Result<> {
                return fail("run on", name + ": KVM exit reason " + std::to_string(e.reason));
            },
        },
        exit);
}

void Machine::run_host_thread(std::uint32_t index) {
    ThreadRegister::Entry& entry = *ThreadRegister::self();
    HostPlatform platform(*memory_, bus_, *payload_, index, entry,
                          [this] { return wish_.load(std::memory_order_relaxed) == Wish::end; });
    const abi::BootInfo boot = boot_info();
    guest::ChurnStatus status = guest::ChurnStatus::setup_error;
    {
        const InGuestScope in_guest(entry);
        try {
            status = guest::run_churn(platform, boot);
        } catch (const WorkloadStopped&) {
            return;
        }
    }
    if (index == 0) {
        const auto code = static_cast<std::uint64_t>(status);
        bus_.write_mmio(Gpa{abi::guest_port_base} + static_cast<std::uint64_t>(abi::Port::exit),
                        std::as_bytes(std::span{&code, 1}));
    }
}

}  // namespace penumbra::vmm
