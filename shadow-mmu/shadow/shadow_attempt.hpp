// One attempt of a fault: what it found, and what must not have changed when it installs.
#pragma once

#include <array>
#include <optional>
#include <span>

#include "shadow-mmu/guest_walk/guest_walk.hpp"
#include "shadow-mmu/shadow/shadow_table.hpp"

namespace penumbra::mmu {

struct ShadowTable::Attempt {
    Attempt(ContextId of, Gva at_address, GuestAccess as) : id(of), address(at_address), access(as) {}

    const ContextId id;
    const Gva address;
    const GuestAccess access;
    ShadowAnswer answer;

    ContextView view;
    std::uint64_t announcements = 0;
    std::optional<SampledEntries> entries;
    GuestTranslation found;
    Gfn data{};
    Hvp host{};

    struct Pin {
        Gfn gfn;
        std::uint64_t epoch;  // of the watch under which the entries were read again
    };
    std::array<Pin, 5> pin_slots{};
    std::size_t pin_count = 0;
    [[nodiscard]] std::span<Pin> pins() { return std::span(pin_slots).first(pin_count); }
    [[nodiscard]] std::span<const Pin> pins() const { return std::span(pin_slots).first(pin_count); }
    [[nodiscard]] bool has_pinned(Gfn gfn) const {
        for (const Pin& pin : pins()) {
            if (pin.gfn == gfn) return true;
        }
        return false;
    }

    ShadowPage* at = nullptr;  ///< under the lock only: where the installation has come to
    Gfn stuck_gfn{};           ///< the page, by frame and role, and its entry that must go first
    std::uint64_t stuck_role = 0;
    std::uint16_t stuck_index = 0;
    void stuck_at(const ShadowPage& page, unsigned index) {
        stuck_gfn = page.gfn;
        stuck_role = page.role.packed();
        stuck_index = static_cast<std::uint16_t>(index);
    }
    [[nodiscard]] std::uint16_t index_at(Level level) const {
        return static_cast<std::uint16_t>(index_in(frame_of(address), level));
    }
    [[nodiscard]] Step answered(ShadowOutcome outcome) {
        answer.outcome = outcome;
        return Step::answered;
    }
};

}  // namespace penumbra::mmu
