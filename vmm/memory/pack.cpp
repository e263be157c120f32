// The second half of Reclaimer: from limbo to the tiers, and from the compressed tier to the file.
#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <vector>

#include "base/assert.hpp"
#include "base/planted.hpp"
#include "vmm/memory/reclaim.hpp"

namespace penumbra::vmm {

namespace {

bool is_zero(const std::byte* page) {
    return page[0] == std::byte{0} && std::memcmp(page, page + 1, page_bytes - 1) == 0;
}

}  // namespace

/// A claimed run of slots and what became of each.
struct Reclaimer::Packing {
    enum class Fate : std::uint8_t { done, to_store, stuck };
    struct Slot {
        PageIndex page{};
        PageWord word;  // as packing
        Fate fate = Fate::done;
    };

    SlotSpan span;
    PackTarget target = PackTarget::any;
    std::array<Slot, batch> slots{};

    [[nodiscard]] bool any(Fate fate) const {
        for (std::uint32_t i = 0; i < span.count; ++i) {
            if (slots[i].fate == fate) return true;
        }
        return false;
    }
};

std::size_t Reclaimer::pack(std::size_t wanted, PackTarget target) {
    Packing packing;
    packing.target = target;
    packing.span = state_.limbo->claim_oldest(static_cast<std::uint32_t>(std::min(wanted, batch)));
    if (packing.span.count == 0) return 0;
    // A fault that rescues a page and then cannot finish puts it back into its slot: then there is a second round.
    for (unsigned round = 0; round < 8; ++round) {
        claim_pages(packing);
        reuse_copies(packing);
        if (!packing.any(Packing::Fate::to_store)) break;
        if (state_.compressed) store_compressed(packing);
        if (state_.slow.any() && target == PackTarget::any) store_slowly(packing);
        put_back(packing);
    }
    keep_returned(packing);
    return empty(packing);
}

void Reclaimer::claim_pages(Packing& packing) {
    for (std::uint32_t i = 0; i < packing.span.count; ++i) {
        Packing::Slot& slot = packing.slots[i];
        const std::uint32_t number = packing.span.first + i;
        const std::optional<PageIndex> page = state_.limbo->occupant(number);
        if (slot.fate == Packing::Fate::stuck || !page) continue;
        PageWord word = state_.words.load(*page);
        if (!word.in_slot() || word.handle() != number) {
            // Rescued, or on its way: whoever pins the slot may still put it back.
            if (!planted(Plant::pack_pinned)) state_.limbo->wait_unpinned(number);
            word = state_.words.load(*page);
        }
        if (!word.in_slot() || word.handle() != number) continue;
        PageWord packed = word.moved_to(PageState::packing, number);
        if (word.state() == PageState::limbo && !state_.words.change(*page, word, packed)) {
            --i;  // it changed this moment: look again
            continue;
        }
        slot = {*page, packed, Packing::Fate::to_store};
        if (!is_zero(pointer_to(state_.limbo->page_of_slot(number)))) continue;
        if (state_.words.change(*page, packed, packed.moved_to(PageState::zero))) state_.stats.zero_pages.add();
        state_.copies.drop(state_.limbo->take_copy(number));
        slot.fate = Packing::Fate::done;
    }
}

/// Pages that left as they had come go back to their copies.
void Reclaimer::reuse_copies(Packing& packing) {
    for (std::uint32_t i = 0; i < packing.span.count; ++i) {
        Packing::Slot& slot = packing.slots[i];
        if (slot.fate != Packing::Fate::to_store) continue;
        const PageCopy copy = state_.limbo->take_copy(packing.span.first + i);
        if (!copy.exists()) continue;
        const std::byte* bytes = pointer_to(state_.limbo->page_of_slot(packing.span.first + i));
        if (!state_.matches(slot.page, copy, ConstPageBytes{bytes, page_bytes}) && !planted(Plant::copy_unchecked)) {
            state_.copies.failed(copy);
            continue;
        }
        slot.fate = Packing::Fate::done;
        if (state_.words.change(slot.page, slot.word, slot.word.moved_to(copy))) {
            state_.copies.served(copy);
        } else {
            state_.copies.drop(copy);  // rescued
        }
    }
}

void Reclaimer::store_compressed(Packing& packing) {
    std::array<StoreItem, batch> items;
    std::array<StoreOutcome, batch> outcomes;
    std::array<std::uint32_t, batch> at;
    std::size_t count = 0;
    for (std::uint32_t i = 0; i < packing.span.count; ++i) {
        const Packing::Slot& slot = packing.slots[i];
        if (slot.fate != Packing::Fate::to_store) continue;
        items[count] = {state_.identity(slot.page, slot.word),
                        pointer_to(state_.limbo->page_of_slot(packing.span.first + i))};
        at[count++] = i;
    }
    const Incompressible incompressible = state_.slow.any() ? Incompressible::refuse : Incompressible::store_raw;
    state_.compressed->store_batch(std::span{items.data(), count}, std::span{outcomes.data(), count}, incompressible);
    for (std::size_t n = 0; n < count; ++n) {
        if (!outcomes[n].stored()) continue;
        Packing::Slot& slot = packing.slots[at[n]];
        slot.fate = Packing::Fate::done;
        const PageWord stored =
            slot.word.moved_to(PageState::compressed, static_cast<std::uint64_t>(outcomes[n].handle));
        if (state_.words.change(slot.page, slot.word, stored)) continue;
        if (!planted(Plant::keep_lost_blob)) state_.compressed->drop(outcomes[n].handle);  // rescued
    }
    state_.budget.note_peak();
}

void Reclaimer::store_slowly(Packing& packing) {
    std::array<FileItem, batch> items;
    std::array<SlowOutcome, batch> outcomes;
    std::array<std::uint32_t, batch> at;
    std::size_t count = 0;
    for (std::uint32_t i = 0; i < packing.span.count; ++i) {
        const Packing::Slot& slot = packing.slots[i];
        if (slot.fate != Packing::Fate::to_store) continue;
        const std::byte* bytes = pointer_to(state_.limbo->page_of_slot(packing.span.first + i));
        items[count] = FileItem::of_page(state_.identity(slot.page, slot.word), ConstPageBytes{bytes, page_bytes});
        at[count++] = i;
    }
    if (count == 0) return;
    write_slowly(std::span{items.data(), count}, std::span{outcomes.data(), count});
    for (std::size_t n = 0; n < count; ++n) {
        if (!outcomes[n].stored()) continue;
        Packing::Slot& slot = packing.slots[at[n]];
        slot.fate = Packing::Fate::done;
        const PageCopy copy = outcomes[n].copy;
        if (!state_.words.change(slot.page, slot.word, slot.word.moved_to(copy))) state_.slow.drop(copy);
    }
}

void Reclaimer::put_back(Packing& packing) {
    for (std::uint32_t i = 0; i < packing.span.count; ++i) {
        Packing::Slot& slot = packing.slots[i];
        if (slot.fate != Packing::Fate::to_store) continue;
        const PageWord back = slot.word.moved_to(PageState::limbo, packing.span.first + i);
        slot.fate = state_.words.change(slot.page, slot.word, back) ? Packing::Fate::stuck : Packing::Fate::done;
    }
}

void Reclaimer::keep_returned(Packing& packing) {
    for (std::uint32_t i = 0; i < packing.span.count; ++i) {
        const std::uint32_t number = packing.span.first + i;
        const std::optional<PageIndex> page = state_.limbo->occupant(number);
        if (packing.slots[i].fate == Packing::Fate::stuck || !page) continue;
        if (!planted(Plant::pack_pinned)) state_.limbo->wait_unpinned(number);
        const PageWord word = state_.words.load(*page);
        if (word.in_slot() && word.handle() == number) packing.slots[i].fate = Packing::Fate::stuck;
    }
}

std::size_t Reclaimer::empty(const Packing& packing) {
    std::size_t emptied = 0;
    std::uint32_t i = 0;
    while (i < packing.span.count) {
        const bool stuck = packing.slots[i].fate == Packing::Fate::stuck;
        std::uint32_t end = i;
        while (end < packing.span.count && (packing.slots[end].fate == Packing::Fate::stuck) == stuck) ++end;
        const SlotSpan run{packing.span.first + i, end - i};
        if (stuck) {
            state_.limbo->unclaim(run);
        } else {
            const HvpRange slots{state_.limbo->page_of_slot(run.first), run.count};
            const bool late = planted(Plant::release_before_emptying);
            if (!late) staging_.empty_slots(slots);
            state_.budget.uncharge(state_.limbo->release(run));
            if (late) staging_.empty_slots(slots);
            emptied += run.count;
        }
        i = end;
    }
    return emptied;
}

/// Tiers without room get some from copies of pages that are in the window.
void Reclaimer::write_slowly(std::span<const FileItem> items, std::span<SlowOutcome> outcomes) {
    StoreResult<> written = state_.slow.write_batch(items, outcomes);
    while (!written && written.error().failure == StoreFailure::full &&
           drop_copies(CopyTier::file, batch) + drop_copies(CopyTier::remote, batch) > 0) {
        written = state_.slow.write_batch(items, outcomes);
    }
    if (!written) note_failure(written.error().error);
}

bool Reclaimer::drop_copy_of(PageIndex page, PageWord word) {
    if (!state_.words.change(page, word, word.with_copy({}))) return false;
    state_.copies.drop(word.copy());
    return true;
}

/// A blob got another place. Of pages on their way somewhere it keeps its old one.
bool Reclaimer::relocate(std::uint64_t page, StoreHandle from, StoreHandle to) {
    if (page >= state_.words.pages()) return false;
    const PageIndex index{static_cast<std::uint32_t>(page)};
    const PageWord word = state_.words.load(index);
    const PageCopy moved{CopyTier::compressed, to};
    if (word.only_copy() == PageCopy{CopyTier::compressed, from})
        return state_.words.change(index, word, word.moved_to(moved));
    if (word.state() == PageState::resident && word.copy() == PageCopy{CopyTier::compressed, from})
        return state_.words.change(index, word, word.with_copy(moved));
    return false;
}

std::size_t Reclaimer::drop_copies(CopyTier tier, std::size_t wanted) {
    const std::uint64_t pages = state_.words.pages();
    std::size_t dropped = 0;
    for (std::uint64_t seen = 0; seen < pages && dropped < wanted; ++seen) {
        const PageIndex page{static_cast<std::uint32_t>(copy_hand_.fetch_add(1, std::memory_order_relaxed) % pages)};
        const PageWord word = state_.words.load(page);
        if (word.state() == PageState::resident && word.copy().tier == tier && drop_copy_of(page, word)) ++dropped;
    }
    return dropped;
}

std::size_t Reclaimer::write_back(std::size_t wanted) {
    std::array<OldBlob, batch> old;
    std::array<FileItem, batch> items;
    std::array<SlowOutcome, batch> outcomes;
    std::array<PageWord, batch> words;
    std::array<PageIndex, batch> pages{};
    const std::size_t found = state_.compressed->oldest(std::span{old.data(), std::min(wanted, batch)});
    std::size_t count = 0;
    std::size_t moved = 0;
    for (std::size_t i = 0; i < found; ++i) {
        if (old[i].page >= state_.words.pages()) continue;
        const PageIndex page{static_cast<std::uint32_t>(old[i].page)};
        const PageWord word = state_.words.load(page);
        if (word.copy() == PageCopy{CopyTier::compressed, old[i].handle} && drop_copy_of(page, word)) ++moved;
        if (word.state() != PageState::compressed || word.store_handle() != old[i].handle) continue;
        std::byte* buffer = write_back_buffer_.get() + count * page_bytes;
        const PageOwner owner = state_.identity(page, word).owner();
        const auto copy = state_.compressed->copy_blob(old[i].handle, owner, PageBytes{buffer, page_bytes});
        if (!copy) continue;  // dropped meanwhile
        items[count] = FileItem::of_blob(owner, *copy, buffer);
        words[count] = word;
        pages[count++] = page;
    }
    if (count == 0) return moved;
    write_slowly(std::span{items.data(), count}, std::span{outcomes.data(), count});
    for (std::size_t n = 0; n < count; ++n) {
        if (!outcomes[n].stored()) continue;
        const PageCopy copy = outcomes[n].copy;
        if (state_.words.change(pages[n], words[n], words[n].moved_to(copy)) || planted(Plant::write_back_unchecked)) {
            state_.compressed->drop(words[n].store_handle());
            ++moved;
        } else {
            state_.slow.drop(copy);
        }
    }
    return moved;
}

}  // namespace penumbra::vmm
