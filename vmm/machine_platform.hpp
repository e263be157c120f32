// What differs between machines: what a guest is loaded from, which hardware KVM and the VMM play for it, and what it
// means when it halts or breaks down. The machine itself knows memory, threads and life.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "vmm/control/run_options.hpp"
#include "vmm/devices/bus.hpp"
#include "vmm/devices/console_port.hpp"
#include "vmm/devices/power.hpp"
#include "vmm/kvm/vcpu.hpp"
#include "vmm/kvm/vm.hpp"
#include "vmm/memory/memory_system.hpp"
#include "vmm/touches.hpp"

namespace penumbra::vmm {

/// One line for people, on any thread.
using Print = std::function<void(std::string_view)>;
using Vcpus = std::span<Vcpu* const>;

/// Named numbers of one device, for reports.
struct DeviceFigures {
    std::string device;
    std::vector<std::pair<std::string, std::uint64_t>> numbers;
};

/// What a platform is built from. All of it outlives the platform.
struct PlatformParts {
    const RunOptions& options;
    MemorySystem& memory;
    PowerListener& power;
    Print print;
    ConsolePeer* console = nullptr;  ///< the user's end of a Linux guest's console; null: its lines are printed
};

/// Built in the order of the methods. Unless a method says otherwise, the thread that builds the machine calls it.
class Platform {
public:
    virtual ~Platform() = default;

    /// Reads and checks the guest's files.
    [[nodiscard]] virtual Result<> read_files() = 0;
    [[nodiscard]] virtual VmForm vm_form() const = 0;
    /// Its parts inside KVM, before the vCPUs; `free` is the first memory slot that is. Not with host threads.
    [[nodiscard]] virtual Result<> join(Vm& vm, SlotNumber free) = 0;
    [[nodiscard]] virtual Result<> add_devices(Bus& bus) = 0;

    // ---- power-on: while building, and later on the vCPU thread that resets; no vCPU is in the guest ----
    /// Everything but the contents of memory. Afterwards nothing of the platform touches memory before load().
    [[nodiscard]] virtual Result<> reset(Vcpus vcpus) = 0;
    /// Memory reads as zero: writes what the guest starts from, and prepares the vCPUs to enter it.
    [[nodiscard]] virtual Result<> load(Vcpus vcpus) = 0;

    // ---- life; any thread, one at a time ----
    /// Its devices touch guest memory no more when this returns; a page fault is nothing they wait for.
    virtual void pause() {}
    virtual void resume() {}
    /// Before paging stops: devices let go of memory and end their threads. Idempotent.
    virtual void stop() {}

    // ---- what a vCPU's thread cannot answer by itself; an error ends the run ----
    [[nodiscard]] virtual Result<> halted(std::uint32_t cpu) = 0;
    [[nodiscard]] virtual Result<> shut_down(std::uint32_t cpu) = 0;
    /// KVM met an instruction that it cannot interpret, or another trouble of its own.
    [[nodiscard]] virtual Result<> gave_up(std::uint32_t cpu, Vcpu& vcpu, const InternalErrorExit& exit) = 0;
    /// Plays vCPU `cpu` on the calling thread until the workload ends or `stopped` says so. Freestanding guests only.
    virtual void play(std::uint32_t cpu, Bus& bus, const std::function<bool()>& stopped) = 0;

    // ---- what only some have ----
    [[nodiscard]] virtual RandomTouches* touches() { return nullptr; }
    /// Where the user's input goes.
    [[nodiscard]] virtual ConsolePort* console_port() { return nullptr; }
    enum class Button : std::uint8_t { absent, pressed };
    virtual Button press_power_button() { return Button::absent; }
    [[nodiscard]] virtual std::vector<DeviceFigures> figures() const { return {}; }
};

[[nodiscard]] std::unique_ptr<Platform> make_freestanding_platform(const PlatformParts& parts);
[[nodiscard]] std::unique_ptr<Platform> make_linux_platform(const PlatformParts& parts);

}  // namespace penumbra::vmm
