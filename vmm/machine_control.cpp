// The machine's life: wishes, and how they reach the vCPUs.
#include "base/assert.hpp"
#include "vmm/machine.hpp"

namespace penumbra::vmm {

void Machine::set_wish(Wish wish, MachineState state) {
    state_ = state;
    wish_.store(wish, std::memory_order_seq_cst);
    changed_.notify_all();
}

void Machine::ask_out_of_guest() {
    for (Cpu& cpu : cpus_) {
        const pid_t thread = cpu.thread_id.load(std::memory_order_seq_cst);
        if (thread == 0 || !cpu.vcpu) continue;
        // While its fault is being answered it is asleep in the kernel; served() asks it afterwards.
        if (memory_->is_waiting(thread)) continue;
        cpu.vcpu->request_exit();
    }
}

void Machine::served(pid_t thread) {
    if (wish_.load(std::memory_order_seq_cst) == Wish::run) return;
    for (Cpu& cpu : cpus_) {
        if (cpu.thread_id.load(std::memory_order_seq_cst) == thread && cpu.vcpu) cpu.vcpu->request_exit();
    }
}

void Machine::pause() {
    {
        const MutexLock lock(mutex_);
        if (state_ != MachineState::running) return;
        set_wish(Wish::park, MachineState::paused);
    }
    ask_out_of_guest();
    follow_with_devices();
}

void Machine::resume() {
    {
        const MutexLock lock(mutex_);
        if (state_ != MachineState::paused && state_ != MachineState::io_error) return;
        error_.reset();
        // A reset that has not happened yet comes first: it runs on by itself.
        set_wish(reset_wanted_ ? Wish::park : Wish::run, MachineState::running);
    }
    memory_->retry();
    follow_with_devices();
}

void Machine::reset() {
    {
        const MutexLock lock(mutex_);
        if (state_ == MachineState::ended) return;
        reset_wanted_ = true;
        error_.reset();
        set_wish(Wish::park, state_ == MachineState::paused ? MachineState::paused : MachineState::running);
    }
    ask_out_of_guest();
    memory_->retry();
}

void Machine::end() {
    {
        const MutexLock lock(mutex_);
        if (state_ == MachineState::ended) return;
        set_wish(Wish::end, MachineState::ended);
    }
    ask_out_of_guest();
}

void Machine::follow_with_devices() {
    // One caller at a time, each by what the state is now: the last one leaves the device as the machine is.
    const MutexLock devices(devices_mutex_);
    if (status().state == MachineState::running) {
        if (accelerator_) accelerator_->resume();
        platform_->resume();
    } else {
        if (accelerator_) accelerator_->pause();
        platform_->pause();
    }
}

void Machine::finish_early() {
    port_->ask_to_finish_early();
    if (RandomTouches* touches = platform_->touches()) touches->finish();
    platform_->press_power_button();
}

void Machine::page_failed(const Error& error) {
    {
        const MutexLock lock(mutex_);
        if (error_ || state_ == MachineState::ended) return;
        error_ = error;
        set_wish(Wish::park, MachineState::io_error);
    }
    ask_out_of_guest();
}

void Machine::end_with(const Error& error) {
    {
        const MutexLock lock(mutex_);
        if (!error_ && state_ != MachineState::ended) error_ = error;
    }
    end();
}

void Machine::guest_ended(GuestEnd how, std::uint64_t status) {
    {
        const MutexLock lock(mutex_);
        if (state_ == MachineState::ended) return;
        exit_status_ = status;
        guest_end_ = how;
    }
    end();
}

void Machine::guest_exited(std::uint64_t status) { guest_ended(GuestEnd::exit, status); }

void Machine::guest_powered_off() { guest_ended(GuestEnd::power_off, 0); }

void Machine::guest_wants_reset() {
    if (options_.guest_os.on_reset == OnGuestReset::end) return guest_ended(GuestEnd::reset, 0);
    {
        const MutexLock lock(mutex_);
        ++guest_resets_;
    }
    reset();
}

void Machine::guest_trapped(std::uint32_t cpu, std::uint64_t vector) {
    end_with(
        Error{"run the guest on", "vCPU " + std::to_string(cpu) + " took exception " + std::to_string(vector), 0, ""});
}

MachineStatus Machine::status() const {
    const MutexLock lock(mutex_);
    return {state_, parked_ == cpus_.size(), error_, exit_status_, guest_end_, reset_count_, guest_resets_};
}

bool Machine::wait_for(MachineState wanted, std::chrono::steady_clock::time_point deadline) {
    const MutexLock lock(mutex_);
    const bool parked = wanted == MachineState::paused || wanted == MachineState::io_error;
    while (state_ != wanted || (parked && parked_ != cpus_.size())) {
        if (!changed_.wait_until(mutex_, deadline)) return state_ == wanted && (!parked || parked_ == cpus_.size());
    }
    return true;
}

}  // namespace penumbra::vmm
