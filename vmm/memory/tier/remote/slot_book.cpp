#include "vmm/memory/tier/remote/slot_book.hpp"

#include <algorithm>
#include <utility>

#include "base/assert.hpp"

namespace penumbra::vmm {

Result<std::unique_ptr<SlotBook>> SlotBook::create(std::uint64_t capacity_slots) {
    PENUMBRA_ASSERT(capacity_slots > 0 && capacity_slots >> store_handle_bits == 0, "a capacity that handles reach");
    const std::uint64_t bytes = (capacity_slots * sizeof(Slot) + page_bytes - 1) / page_bytes * page_bytes;
    PENUMBRA_TRY_ASSIGN(auto memory, MappedRegion::anonymous(bytes));
    return std::unique_ptr<SlotBook>{new SlotBook(std::move(memory), capacity_slots)};
}

SlotKey SlotBook::key_of(std::uint64_t slot) const {
    return {slot, slots()[slot].serial, static_cast<std::uint32_t>(slots()[slot].page)};
}

std::size_t SlotBook::take(std::span<const PageForm> forms, std::span<SlotKey> keys) {
    const MutexLock lock{mutex_};
    std::size_t taken = 0;
    for (const PageForm& form : forms) {
        PENUMBRA_ASSERT(form.length > 0 && form.length <= page_bytes, "a stored page of one byte to a page");
        PENUMBRA_ASSERT(form.page >> page_index_bits == 0, "page index too large to store");
        std::uint64_t at = opened_;
        if (free_ != 0) {
            at = free_ - 1;
            free_ = slots()[at].check_or_next;
        } else if (opened_ == capacity_slots_) {
            break;
        } else {
            ++opened_;
        }
        Slot& slot = slots()[at];
        slot.check_or_next = form.check;
        slot.page = form.page & ((std::uint64_t{1} << page_index_bits) - 1);
        slot.version = form.version & ((std::uint64_t{1} << page_version_bits) - 1);
        slot.length_less_one = (form.length - 1U) & (page_bytes - 1);
        slot.encoding = static_cast<std::uint8_t>(form.encoding);
        PENUMBRA_ASSERT(next_serial_ >> serial_bits == 0, "a serial that was not used yet");
        slot.serial = next_serial_++ & ((std::uint64_t{1} << serial_bits) - 1);
        set(slot, State::writing);
        keys[taken++] = key_of(at);
    }
    return taken;
}

void SlotBook::stored(std::uint64_t slot) {
    const MutexLock lock{mutex_};
    PENUMBRA_ASSERT(is(slots()[slot], State::writing), "a slot that is being written");
    set(slots()[slot], State::stored);
    pages_.fetch_add(1, std::memory_order_relaxed);
}

void SlotBook::push_leaving(std::uint64_t slot) {
    set(slots()[slot], State::leaving);
    slots()[slot].check_or_next = std::exchange(first_leaving_, slot + 1);
    leaving_.fetch_add(1, std::memory_order_relaxed);
}

void SlotBook::doubtful(std::uint64_t slot) {
    const MutexLock lock{mutex_};
    PENUMBRA_ASSERT(is(slots()[slot], State::writing), "a slot that is being written");
    push_leaving(slot);
}

void SlotBook::look_up(std::span<const StoreHandle> handles, std::span<std::optional<Found>> found) const {
    const MutexLock lock{mutex_};
    for (std::size_t i = 0; i < handles.size(); ++i) {
        const auto at = static_cast<std::uint64_t>(handles[i]);
        found[i].reset();
        if (at >= opened_ || !is(slots()[at], State::stored)) continue;
        const Slot& slot = slots()[at];
        found[i] =
            Found{{slot.check_or_next, static_cast<std::uint32_t>(slot.page), static_cast<std::uint32_t>(slot.version),
                   static_cast<std::uint16_t>(slot.length_less_one + 1), static_cast<Encoding>(slot.encoding)},
                  slot.serial};
    }
}

std::uint64_t SlotBook::leave(std::span<const StoreHandle> handles) {
    const MutexLock lock{mutex_};
    for (const StoreHandle handle : handles) {
        const auto at = static_cast<std::uint64_t>(handle);
        PENUMBRA_ASSERT(at < opened_ && is(slots()[at], State::stored), "drop of a page that is not stored");
        push_leaving(at);
    }
    pages_.fetch_sub(handles.size(), std::memory_order_relaxed);
    return leaving_.load(std::memory_order_relaxed);
}

void SlotBook::leave_all() {
    const MutexLock lock{mutex_};
    for (std::uint64_t at = 0; at < opened_; ++at) {
        if (is(slots()[at], State::stored)) push_leaving(at);
    }
    pages_.store(0, std::memory_order_relaxed);
}

std::size_t SlotBook::claim_leaving(std::span<SlotKey> keys) {
    const MutexLock lock{mutex_};
    std::size_t claimed = 0;
    while (claimed < keys.size() && first_leaving_ != 0) {
        const std::uint64_t at = first_leaving_ - 1;
        first_leaving_ = slots()[at].check_or_next;
        set(slots()[at], State::writing);
        keys[claimed++] = key_of(at);
    }
    leaving_.fetch_sub(claimed, std::memory_order_relaxed);
    return claimed;
}

void SlotBook::end(std::span<const std::uint64_t> ended) {
    const MutexLock lock{mutex_};
    for (const std::uint64_t at : ended) {
        PENUMBRA_ASSERT(is(slots()[at], State::writing), "a slot that is in somebody's hands");
        slots()[at] = {};
        slots()[at].check_or_next = std::exchange(free_, at + 1);
    }
}

void SlotBook::unclaim(std::span<const std::uint64_t> claimed) {
    const MutexLock lock{mutex_};
    for (const std::uint64_t at : claimed) {
        PENUMBRA_ASSERT(is(slots()[at], State::writing), "a slot that is in somebody's hands");
        push_leaving(at);
    }
}

std::size_t SlotBook::next_stored(std::uint64_t& cursor, std::span<SlotKey> keys) const {
    const MutexLock lock{mutex_};
    std::size_t found = 0;
    const std::uint64_t end = std::min(opened_, cursor + slots_per_look);
    for (; cursor < end && found < keys.size(); ++cursor) {
        if (is(slots()[cursor], State::stored)) keys[found++] = key_of(cursor);
    }
    return found;
}

bool SlotBook::still_stored(const SlotKey& key) const {
    const MutexLock lock{mutex_};
    return is(slots()[key.slot], State::stored) && slots()[key.slot].serial == key.serial;
}

std::uint64_t SlotBook::opened() const {
    const MutexLock lock{mutex_};
    return opened_;
}

}  // namespace penumbra::vmm
