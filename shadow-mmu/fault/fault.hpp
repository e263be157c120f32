// The closed set of what a fault can come to.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

#include "shadow-mmu/format/entry_state.hpp"

namespace penumbra::mmu {

using FaultAccess = Touch;

enum class FaultOutcome : std::uint8_t {
    installed,      ///< the entry is present now
    spurious,       ///< it was present already, or somebody else is putting it in
    retry,          ///< invalidations kept intervening: the caller faults again
    emulate,        ///< no RAM there, a device register or nothing; or a write that no entry may permit
    denied,         ///< the table was released
    out_of_memory,  ///< no table page left
};
[[nodiscard]] constexpr std::string_view name_of(FaultOutcome outcome) {
    switch (outcome) {
        case FaultOutcome::installed:
            return "installed";
        case FaultOutcome::spurious:
            return "spurious";
        case FaultOutcome::retry:
            return "retry";
        case FaultOutcome::emulate:
            return "emulate";
        case FaultOutcome::denied:
            return "denied";
        case FaultOutcome::out_of_memory:
            return "out of memory";
    }
    return "?";
}

/// What an entry is to a touch of its page.
enum class Standing : std::uint8_t {
    absent,     ///< nothing, or somebody is changing it: a fault has to bring the page
    serves,     ///< it permits the touch already
    granted,    ///< it does now: it had aged, or may be written
    forbidden,  ///< it is there and may not permit the touch
};

/// Answer to a fault that wants an entry for itself.
enum class Claim : std::uint8_t {
    taken,          ///< the entry is busy now, the caller's until publish or abandon
    present,        ///< somebody put the page in
    contended,      ///< another fault or an invalidation had it: look again
    released,       ///< the table takes no entries any more
    out_of_memory,  ///< no table page left
};

/// Bounds of one fault: attempts before the caller is told to retry, and how long one open invalidation may hold it off
/// before that counts as a broken promise of the bridge (an end that never came).
struct FaultLimits {
    unsigned attempts = 64;
    std::chrono::milliseconds hold_off{10'000};
};

}  // namespace penumbra::mmu
