// Which guest-physical ranges are RAM, and where each lives in the VMM: the role of KVM's memslots for our own tables.
#pragma once

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/range.hpp"

namespace penumbra::mmu {

struct Memslot {
    GfnRange guest;
    Hvp host;  ///< host page of guest.first(); the slot is contiguous on both sides

    [[nodiscard]] HvpRange host_pages() const { return {host, guest.pages()}; }
};

/// Immutable after construction; safe to read from any thread.
class Memslots {
public:
    /// `slots` must not overlap on either side.
    explicit Memslots(std::vector<Memslot> slots) : slots_(std::move(slots)) {}

    [[nodiscard]] std::optional<Hvp> to_host(Gfn gfn) const {
        for (const Memslot& slot : slots_) {
            if (slot.guest.contains(gfn)) return slot.host + (gfn - slot.guest.first());
        }
        return std::nullopt;
    }
    [[nodiscard]] std::optional<Gfn> to_guest(Hvp page) const {
        for (const Memslot& slot : slots_) {
            if (slot.host_pages().contains(page)) return slot.guest.first() + (page - slot.host);
        }
        return std::nullopt;
    }
    /// Calls fn(GfnRange) for each piece of `range` that is RAM.
    template <class Fn>
    void for_each_guest_range(HvpRange range, Fn&& fn) const {
        for (const Memslot& slot : slots_) {
            const HvpRange host = slot.host_pages();
            if (!host.overlaps(range)) continue;
            const Hvp first = std::max(host.first(), range.first());
            const Hvp end = std::min(host.end(), range.end());
            fn(GfnRange{slot.guest.first() + (first - host.first()), end - first});
        }
    }
    [[nodiscard]] const std::vector<Memslot>& slots() const { return slots_; }
    [[nodiscard]] std::uint64_t pages() const {
        std::uint64_t total = 0;
        for (const Memslot& slot : slots_) total += slot.guest.pages();
        return total;
    }
    /// One past the highest guest frame.
    [[nodiscard]] Gfn end() const {
        Gfn highest{0};
        for (const Memslot& slot : slots_) highest = std::max(highest, slot.guest.end());
        return highest;
    }

private:
    std::vector<Memslot> slots_;
};

}  // namespace penumbra::mmu
