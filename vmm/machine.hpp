// One machine: memory, devices and vCPUs, and its life: run, pause, reset, end.
//
// Every vCPU has a thread that runs the guest and, between exits, looks at what is wished of it. A wish is written down
// first and vCPUs are asked out of the guest afterwards; nobody who wishes waits for them. A vCPU that sleeps in a page
// fault is not signalled (its thread would spin or not hear it): it is asked when its fault has been answered.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/mutex.hpp"
#include "base/thread.hpp"
#include "vmm/control/host_facts.hpp"
#include "vmm/control/run_options.hpp"
#include "vmm/devices/accelerator/accelerator.hpp"
#include "vmm/devices/bus.hpp"
#include "vmm/devices/guest_port.hpp"
#include "vmm/kvm/kvm.hpp"
#include "vmm/kvm/vcpu.hpp"
#include "vmm/kvm/vm.hpp"
#include "vmm/machine_platform.hpp"
#include "vmm/memory/memory_system.hpp"

namespace penumbra::vmm {

enum class MachineState : std::uint8_t {
    prelaunch,  ///< not started
    running,
    paused,    ///< every vCPU is out of the guest, or will be once its page fault is answered (all_parked tells)
    io_error,  ///< paused because a page cannot be supplied; cont tries again
    ended,
};

/// What made the machine end, if the guest did.
enum class GuestEnd : std::uint8_t {
    none,
    exit,       ///< through the guest port
    power_off,  ///< by ACPI
    reset,      ///< it wanted to start again, and was not to
};

struct MachineStatus {
    MachineState state = MachineState::prelaunch;
    bool all_parked = false;
    std::optional<Error> error;                ///< of io_error, or why the machine ended by itself
    std::optional<std::uint64_t> exit_status;  ///< what the guest ended with; 0 for everything but an exit
    GuestEnd guest_end = GuestEnd::none;
    std::uint64_t resets = 0;        ///< that were done
    std::uint64_t guest_resets = 0;  ///< that the guest asked for, done or not
};

/// See FaultReading: spinning needs a CPU to spare and the one kind of guest that it is good for.
[[nodiscard]] FaultReading best_fault_reading(KvmFlavour flavour, GuestRing ring, unsigned cpus);

class Machine final : public GuestPortListener, public PowerListener {
public:
    using Print = vmm::Print;

    /// `print` takes a freestanding guest's console lines and devices' complaints, on any thread. `console` is the
    /// user's end of a Linux guest's console, which outlives the machine; without one its lines are printed too.
    [[nodiscard]] static Result<std::unique_ptr<Machine>> create(const RunOptions& options, Print print,
                                                                 ConsolePeer* console = nullptr);
    ~Machine() override;
    Machine(const Machine&) = delete;
    Machine& operator=(const Machine&) = delete;

    [[nodiscard]] Result<> start();
    // ---- control: any thread; none of these waits for a vCPU ----
    void pause();
    /// Runs on; after an io-error it tries again.
    void resume();
    /// Power-on state with the image loaded anew. Done by the vCPUs once all are out of the guest.
    void reset();
    void end();
    /// Asks the guest to come to its end (--time ran out): a Linux guest by its power button.
    void finish_early();
    /// Absent: this machine has none.
    Platform::Button press_power_button() { return platform_->press_power_button(); }

    [[nodiscard]] MachineStatus status() const EXCLUDES(mutex_);
    /// Sleeps until `wanted` or the deadline; false at the deadline.
    [[nodiscard]] bool wait_for(MachineState wanted, std::chrono::steady_clock::time_point deadline) EXCLUDES(mutex_);

    [[nodiscard]] MemorySystem& memory() { return *memory_; }
    [[nodiscard]] Accelerator* accelerator() { return accelerator_ ? accelerator_.get() : nullptr; }
    [[nodiscard]] const GuestPort& port() const { return *port_; }
    [[nodiscard]] const RandomTouches* touches() const { return platform_->touches(); }
    /// Where the user's input goes; null: nowhere.
    [[nodiscard]] ConsolePort* console_port() { return platform_->console_port(); }
    [[nodiscard]] std::vector<DeviceFigures> device_figures() const;
    [[nodiscard]] const RunOptions& options() const { return options_; }

private:
    enum class Wish : std::uint8_t { run, park, end };
    struct Cpu {
        std::unique_ptr<Vcpu> vcpu;
        std::atomic<pid_t> thread_id{0};
        Thread thread;
    };

    Machine(const RunOptions& options, Print print) : options_(options), print_(std::move(print)) {}
    [[nodiscard]] Result<> build(ConsolePeer* console);
    [[nodiscard]] Result<> build_memory();
    [[nodiscard]] Result<> build_kvm();
    [[nodiscard]] Result<> build_bus();
    [[nodiscard]] std::vector<Vcpu*> vcpus() const;

    // vCPU threads
    void run_cpu(std::uint32_t index);
    [[nodiscard]] Result<> run_guest(std::uint32_t index, Vcpu::Attachment& attachment);
    [[nodiscard]] Result<> finish_access(std::uint32_t index, Vcpu::Attachment& attachment);
    [[nodiscard]] Wish next_wish() EXCLUDES(mutex_);
    enum class Parked : std::uint8_t { may_leave, must_reset };
    [[nodiscard]] Parked stay_parked() EXCLUDES(mutex_);
    [[nodiscard]] Result<> handle(std::uint32_t index, const Exit& exit);
    void perform_reset();
    [[nodiscard]] Result<> start_over();

    // wishes
    void set_wish(Wish wish, MachineState state) REQUIRES(mutex_);
    void follow_with_devices() EXCLUDES(devices_mutex_, mutex_);
    void ask_out_of_guest();
    void served(pid_t thread);
    void page_failed(const Error& error);
    void end_with(const Error& error);
    void take_down();

    void guest_printed(std::string_view line) override { print_(line); }
    void guest_exited(std::uint64_t status) override;
    void guest_trapped(std::uint32_t cpu, std::uint64_t vector) override;
    void guest_powered_off() override;
    void guest_wants_reset() override;
    void guest_ended(GuestEnd how, std::uint64_t status) EXCLUDES(mutex_);

    const RunOptions options_;
    Print print_;
    std::optional<Kvm> kvm_;
    std::unique_ptr<MemorySystem> memory_;
    std::unique_ptr<Vm> vm_;
    std::unique_ptr<Platform> platform_;
    std::unique_ptr<GuestPort> port_;
    std::unique_ptr<Accelerator> accelerator_;
    Bus bus_;
    std::vector<Cpu> cpus_;

    std::atomic<Wish> wish_{Wish::park};
    Mutex devices_mutex_{LockRank::devices};  // held while devices pause: bounded by what they have in flight
    mutable Mutex mutex_{LockRank::machine};
    CondVar changed_;
    MachineState state_ GUARDED_BY(mutex_) = MachineState::prelaunch;
    std::uint32_t parked_ GUARDED_BY(mutex_) = 0;
    bool reset_wanted_ GUARDED_BY(mutex_) = false;
    bool resetting_ GUARDED_BY(mutex_) = false;
    std::uint64_t reset_count_ GUARDED_BY(mutex_) = 0;
    std::optional<Error> error_ GUARDED_BY(mutex_);
    std::optional<std::uint64_t> exit_status_ GUARDED_BY(mutex_);
    GuestEnd guest_end_ GUARDED_BY(mutex_) = GuestEnd::none;
    std::uint64_t guest_resets_ GUARDED_BY(mutex_) = 0;
};

}  // namespace penumbra::vmm
