// What a remote tier knows in RAM of each page it stored: 24 bytes per page, in a table that grows with use.
//
// free -> writing -> stored -> leaving -> free. A page that is leaving is forgotten here and still on the store; it
// keeps its slot until the store has forgotten it too, so that the queue of such pages is a chain through their own
// slots and the store never holds more than the capacity. Any thread; no lock is held across I/O.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>

#include "base/mapped_region.hpp"
#include "base/mutex.hpp"
#include "vmm/memory/tier/remote/page_key.hpp"
#include "vmm/memory/tier/remote/page_value.hpp"
#include "vmm/memory/tier/tier.hpp"

namespace penumbra::vmm {

/// A slot and the key that goes with it now.
struct SlotKey {
    std::uint64_t slot = 0;
    std::uint64_t serial = 0;
    std::uint32_t page = 0;
};

class SlotBook {
public:
    static constexpr std::uint64_t fewest_slots = 64;

    [[nodiscard]] static Result<std::unique_ptr<SlotBook>> create(std::uint64_t capacity_slots);

    /// Takes a slot, with a fresh serial, for each of `forms`; answers for how many there was room.
    [[nodiscard]] std::size_t take(std::span<const PageForm> forms, std::span<SlotKey> keys);
    /// A slot that was taken holds its page now.
    void stored(std::uint64_t slot);
    /// A slot that was taken, whose page the store does not have.
    void give_back(std::uint64_t slot) { end({&slot, 1}); }
    /// A slot that was taken, whose page the store may have.
    void doubtful(std::uint64_t slot);

    struct Found {
        PageForm form;
        std::uint64_t serial = 0;
    };
    /// What lies at each handle now; nothing when no page does.
    void look_up(std::span<const StoreHandle> handles, std::span<std::optional<Found>> found) const;

    /// Forgets stored pages. Asserts that they are stored. Answers how many are leaving now.
    std::uint64_t leave(std::span<const StoreHandle> handles);
    /// Takes up to `keys.size()` leaving pages for the caller to take off the store, oldest or not.
    [[nodiscard]] std::size_t claim_leaving(std::span<SlotKey> keys);
    /// Claimed pages that are off the store: their slots are free again.
    void end(std::span<const std::uint64_t> slots);
    /// Claimed pages that are still to be taken off.
    void unclaim(std::span<const std::uint64_t> slots);

    /// The next stored pages from `cursor` on, which moves; at most `slots_per_look` slots are looked at.
    static constexpr std::uint64_t slots_per_look = 4096;
    [[nodiscard]] std::size_t next_stored(std::uint64_t& cursor, std::span<SlotKey> keys) const;
    [[nodiscard]] bool still_stored(const SlotKey& key) const;
    /// Makes all stored pages leave; for a tier that is not used any more.
    void leave_all();

    [[nodiscard]] std::uint64_t pages() const { return pages_.load(std::memory_order_relaxed); }
    [[nodiscard]] std::uint64_t leaving() const { return leaving_.load(std::memory_order_relaxed); }
    [[nodiscard]] std::uint64_t capacity_slots() const { return capacity_slots_; }
    /// Slots that have ever been used.
    [[nodiscard]] std::uint64_t opened() const;
    [[nodiscard]] std::uint64_t bookkeeping_bytes() const { return opened() * sizeof(Slot); }

private:
    enum class State : std::uint8_t { free, writing, stored, leaving };
    struct Slot {
        std::uint64_t check_or_next = 0;  // free and leaving: 1 + the next slot of the chain
        std::uint64_t page : page_index_bits = 0;
        std::uint64_t version : page_version_bits = 0;
        std::uint64_t length_less_one : page_shift = 0;
        std::uint64_t state : 4 = 0;
        std::uint64_t serial : serial_bits = 0;
        std::uint64_t encoding : 64 - serial_bits = 0;
    };
    static_assert(sizeof(Slot) == 24);

    SlotBook(MappedRegion slots, std::uint64_t capacity_slots)
        : slot_memory_(std::move(slots)), capacity_slots_(capacity_slots) {}

    [[nodiscard]] Slot* slots() const { return reinterpret_cast<Slot*>(slot_memory_.data()); }
    [[nodiscard]] static bool is(const Slot& slot, State state) {
        return slot.state == static_cast<std::uint64_t>(state);
    }
    static void set(Slot& slot, State state) { slot.state = static_cast<std::uint64_t>(state) & 15; }
    [[nodiscard]] SlotKey key_of(std::uint64_t slot) const;
    void push_leaving(std::uint64_t slot) REQUIRES(mutex_);

    MappedRegion slot_memory_;  // capacity_slots_ of Slot, its contents guarded by mutex_
    const std::uint64_t capacity_slots_;
    mutable Mutex mutex_{LockRank::file_io};
    std::uint64_t opened_ GUARDED_BY(mutex_) = 0;
    std::uint64_t free_ GUARDED_BY(mutex_) = 0;           // 1 + the first of the chain
    std::uint64_t first_leaving_ GUARDED_BY(mutex_) = 0;  // as well
    std::uint64_t next_serial_ GUARDED_BY(mutex_) = 0;
    std::atomic<std::uint64_t> pages_{0};
    std::atomic<std::uint64_t> leaving_{0};
};

}  // namespace penumbra::vmm
