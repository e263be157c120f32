// What a control socket may ask of a running machine. The machine's side of it is vmm/machine_adapter.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace penumbra::vmm {

enum class RunState : std::uint8_t { prelaunch, running, paused, io_error, shutdown };

/// The name that QMP's query-status gives a state.
[[nodiscard]] constexpr std::string_view name_of(RunState state) {
    switch (state) {
        case RunState::prelaunch:
            return "prelaunch";
        case RunState::running:
            return "running";
        case RunState::paused:
            return "paused";
        case RunState::io_error:
            return "io-error";
        case RunState::shutdown:
            return "shutdown";
    }
    return "internal-error";
}

struct ControlStatus {
    RunState state = RunState::prelaunch;
    bool all_parked = false;                   ///< every vCPU is out of the guest
    std::string error;                         ///< of io_error, or why the machine ended by itself; else empty
    std::optional<std::uint64_t> exit_status;  ///< what the guest ended with
    bool ended_by_reset = false;               ///< the guest wanted to start again, and was not to
    std::uint64_t guest_resets = 0;            ///< how often the guest had itself started again
};

/// Pages of one sweep over all guest memory.
struct EvictPass {
    std::uint64_t taken = 0;    ///< left the window
    std::uint64_t was_out = 0;  ///< were not in it
    std::uint64_t kept = 0;     ///< could not be taken
};

enum class DirtyLogAction : std::uint8_t { start, take, stop };

/// Pages that the accelerator wrote; empty for start and stop.
struct DirtyLogAnswer {
    static constexpr std::size_t most_ranges = 1024;
    struct Range {
        std::uint64_t address = 0;  ///< guest-physical
        std::uint64_t pages = 0;    ///< of 4 KiB
    };
    std::uint64_t pages = 0;    ///< in the ranges
    std::vector<Range> ranges;  ///< apart from each other, at most most_ranges
    bool more = false;          ///< there may be others, which the next take begins with
};

/// Any thread may call anything. Only evict_pass() takes long; nothing else waits for a vCPU or for I/O of the guest.
class MachineControl {
public:
    virtual ~MachineControl() = default;

    virtual void pause() = 0;
    /// Runs on; after an io-error it tries again.
    virtual void resume() = 0;
    /// Asks for the power-on state; the vCPUs bring it about.
    virtual void reset() = 0;
    virtual void quit() = 0;
    enum class Button : std::uint8_t { absent, pressed };
    /// Asks the guest to turn itself off. Absent: this machine has no power button.
    virtual Button press_power_button() = 0;
    [[nodiscard]] virtual ControlStatus status() const = 0;
    /// The run report of this moment: the JSON text of one object.
    [[nodiscard]] virtual std::string report_json() = 0;
    /// Takes every page out of the window once. May take seconds; one caller at a time.
    [[nodiscard]] virtual EvictPass evict_pass() = 0;
    /// What the accelerator writes through its table of guest-physical addresses: from a start on each page is in some
    /// later take, none twice without having been written again. A start takes time with the pages that the accelerator
    /// has mapped, some milliseconds for each GiB in small pages. One caller at a time. The error says what is wrong.
    [[nodiscard]] virtual std::expected<DirtyLogAnswer, std::string> dirty_log(DirtyLogAction action) = 0;
};

}  // namespace penumbra::vmm
