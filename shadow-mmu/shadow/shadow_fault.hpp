// What a fault of a shadow table can come to, for whoever runs the device.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/assert.hpp"
#include "shadow-mmu/fault/fault.hpp"
#include "shadow-mmu/shadow/progress.hpp"

namespace penumbra::mmu {

enum class ShadowOutcome : std::uint8_t {
    installed,     ///< the translation is there now
    spurious,      ///< it was there already
    retry,         ///< invalidations or writes kept intervening: the caller faults again
    guest_fault,   ///< the guest's tables do not permit the access: a page request for the guest, see `guest`
    bad_address,   ///< no canonical address: an error of the command
    not_ram,       ///< the guest's tables name no RAM there
    pages_wanted,  ///< host pages are absent, see `wanted`: have them brought in, then fault again
    wait,          ///< a table is the guest's for now: fault again at `wait_until`
    own_table,     ///< a write to a table that translates its own address: not done for a device
    refused,       ///< a table's writes cannot be watched
    no_context,    ///< closed
    denied,        ///< the table was released
};

struct GuestPageFault {
    std::uint32_t error_code = 0;  ///< as the processor's #PF
    Gva address{};
};

struct WantedPage {
    Gfn gfn;
    FaultAccess access = FaultAccess::read;
};

struct ShadowAnswer {
    ShadowOutcome outcome = ShadowOutcome::retry;
    GuestPageFault guest;
    ShadowTime wait_until{};

    [[nodiscard]] std::span<const WantedPage> wanted() const { return std::span(wanted_).first(wanted_count_); }
    void want(WantedPage page) {
        outcome = ShadowOutcome::pages_wanted;
        PENUMBRA_ASSERT(wanted_count_ < wanted_.size(), "more pages wanted than a walk has");
        wanted_[wanted_count_++] = page;
    }

private:
    std::array<WantedPage, 6> wanted_{};  // five tables and the page itself
    std::size_t wanted_count_ = 0;
};

}  // namespace penumbra::mmu
