#include "vmm/memory/pager.hpp"

#include <array>
#include <chrono>
#include <utility>

#include "base/assert.hpp"
#include "base/per_thread.hpp"
#include "base/planted.hpp"
#include "base/wait.hpp"

namespace penumbra::vmm {

using mmu::Conclusion;
using mmu::Content;
using mmu::FaultAccess;
using mmu::ResolvedPage;

namespace {

struct alignas(page_bytes) PageBuffer {
    std::array<std::byte, page_bytes> bytes{};
};

/// One fault at a time per thread, so one buffer each.
PageBuffer& thread_buffer() { return per_thread<PageBuffer>(); }

/// What read_ahead() fetched for this thread. An entry counts only while the page's word is the one it was read under.
struct ReadAhead {
    std::array<PageBuffer, SlowReader::depth> buffers;
    std::array<std::pair<PageIndex, PageWord>, SlowReader::depth> keys{};
    std::size_t count = 0;

    [[nodiscard]] const std::byte* find(PageIndex page, PageWord word) const {
        for (std::size_t i = 0; i < count; ++i) {
            if (keys[i] == std::pair{page, word}) return buffers[i].bytes.data();
        }
        return nullptr;
    }
};

std::unique_ptr<ReadAhead>& thread_read_ahead() { return per_thread<std::unique_ptr<ReadAhead>>(); }

const PageBuffer zero_page;

std::string page_name(PageIndex page) { return "guest page " + std::to_string(static_cast<std::uint64_t>(page)); }

}  // namespace

Result<std::unique_ptr<Pager>> Pager::create(PagerState& state, Reclaimer& reclaimer, unsigned readers) {
    std::unique_ptr<Pager> pager(new Pager(state, reclaimer));
    const MutexLock lock(pager->readers_mutex_);
    for (unsigned i = 0; state.slow.any() && i < readers; ++i) {
        PENUMBRA_TRY_ASSIGN(std::unique_ptr<SlowReader> reader, state.slow.make_reader());
        pager->readers_.push_back(std::move(reader));
    }
    return pager;
}

Result<> Pager::charge(Room room) {
    constexpr auto patience = std::chrono::seconds{30};
    const auto deadline = steady_now() + patience;
    bool waited = false;
    while (!state_.budget.try_charge()) {
        if (!std::exchange(waited, true)) state_.stats.waits_for_room.add();
        if (state_.stopping.load(std::memory_order_acquire))
            return fail("supply a page", "", "the machine is being stopped");
        reclaimer_.help();
        if (state_.budget.try_charge()) return {};
        if (const std::optional<Error> why = reclaimer_.exhausted()) return std::unexpected{*why};
        reclaimer_.kick();
        if (room == Room::at_once) return fail("make room for a page", "at once");
        const auto now = steady_now();
        if (now > deadline)
            return fail("make room for a page", "within 30 s", "raise --budget or use a faster swap tier");
        (void)state_.budget.wait_for_room(now + std::chrono::milliseconds{100});
    }
    if (reclaimer_.due()) reclaimer_.kick();
    return {};
}

Result<> Pager::wait_while_held(PageIndex page) const {
    // Only a planted switch holds a tier; the wait is a bounded nap so that clearing the switch needs no signal.
    while (planted(Plant::hold_tier) || planted_for(Plant::hold_page, static_cast<std::uint64_t>(page))) {
        if (state_.stopping.load(std::memory_order_acquire))
            return fail("supply a page", "", "the machine is being stopped");
        Mutex mutex{LockRank::leaf};
        CondVar never;
        const MutexLock lock(mutex);
        (void)never.wait_until(mutex, steady_now() + std::chrono::milliseconds{1});
    }
    return {};
}

Result<ResolvedPage> Pager::resolve(Hvp page, Room room, FaultAccess access) {
    state_.stats.faults.add();
    const PageIndex index = state_.index_of(page);
    for (;;) {  // each turn follows one move of the page to another tier; moves only go outwards
        const PageWord word = state_.words.load(index);
        ResolvedPage resolved;
        resolved.ticket = word.raw();
        resolved.access = access;
        if (word.state() == PageState::resident)
            return resolved;  // an invalidation is settling: commit will not happen
        if (word.in_slot()) {
            // The copy in the window is a page of its own; the slot keeps its charge until it is emptied.
            const auto slot = static_cast<std::uint32_t>(word.handle());
            state_.limbo->pin(slot);
            const bool still_there = state_.words.load(index) == word;
            if (still_there && state_.budget.try_charge()) {
                resolved.content = {Content::Kind::copy, address_of(state_.limbo->page_of_slot(slot))};
                return resolved;
            }
            state_.limbo->unpin(slot);  // whoever makes room may have to wait for this slot
            if (still_there) {
                PENUMBRA_TRY(charge(room));
                state_.budget.uncharge(1);
            }
            continue;
        }
        PENUMBRA_TRY(charge(room));
        if (word.state() == PageState::zero) {
            // A read may share the kernel's zero page; a write would only fault again.
            if (access == FaultAccess::write) resolved.content = {Content::Kind::copy, hva_of(zero_page.bytes.data())};
            return resolved;
        }
        Result<std::optional<Hva>> loaded = load(index, word);
        if (loaded && *loaded) {
            resolved.content = {Content::Kind::copy, **loaded};
            return resolved;
        }
        state_.budget.uncharge(1);
        if (!loaded) return std::unexpected{std::move(loaded).error()};
    }
}

Result<std::optional<Hva>> Pager::load(PageIndex page, PageWord word) {
    PENUMBRA_TRY(wait_while_held(page));
    if (const auto& ahead = thread_read_ahead()) {
        if (const std::byte* bytes = ahead->find(page, word)) return hva_of(bytes);
    }
    PageBuffer& buffer = thread_buffer();
    const PageBytes out{buffer.bytes};
    const StoreResult<> loaded =
        word.state() == PageState::compressed
            ? state_.compressed->load(word.store_handle(), state_.identity(page, word).owner(), out)
            : read_slow(page, word, out);
    if (loaded) return hva_of(buffer.bytes.data());
    // The answer may be wrong because the page was moved to another tier while it was being read: then the word says
    // so.
    if (state_.words.load(page) != word) return std::nullopt;
    Error error = loaded.error().error;
    error.object = page_name(page) + (error.object.empty() ? "" : " (" + error.object + ")");
    return std::unexpected{std::move(error)};
}

std::unique_ptr<SlowReader> Pager::borrow_reader() {
    const MutexLock lock(readers_mutex_);
    while (readers_.empty()) reader_free_.wait(readers_mutex_);
    std::unique_ptr<SlowReader> reader = std::move(readers_.back());
    readers_.pop_back();
    return reader;
}

void Pager::return_reader(std::unique_ptr<SlowReader> reader) {
    const MutexLock lock(readers_mutex_);
    readers_.push_back(std::move(reader));
    reader_free_.notify_one();
}

StoreResult<> Pager::read_slow(PageIndex page, PageWord word, PageBytes out) {
    std::unique_ptr<SlowReader> reader = borrow_reader();
    const StoreResult<> result = reader->read(word.only_copy(), state_.identity(page, word).owner(), out);
    return_reader(std::move(reader));
    return result;
}

void Pager::read_ahead(std::span<const Hvp> pages) {
    std::unique_ptr<ReadAhead>& ahead = thread_read_ahead();
    if (!ahead) ahead = std::make_unique<ReadAhead>();
    std::array<SlowReader::Item, SlowReader::depth> items;
    std::array<bool, SlowReader::depth> filled{};
    std::array<std::pair<PageIndex, PageWord>, SlowReader::depth> keys;
    ahead->count = 0;
    std::size_t count = 0;
    for (const Hvp page : pages) {
        const PageIndex index = state_.index_of(page);
        const PageWord word = state_.words.load(index);
        if (!is_slow(word) || count == items.size()) continue;
        items[count] = {word.only_copy(), state_.identity(index, word).owner(), ahead->buffers[count].bytes.data()};
        keys[count++] = {index, word};
    }
    if (count < 2) return;  // one page is read by its own fault
    std::unique_ptr<SlowReader> reader = borrow_reader();
    reader->read_batch(std::span{items.data(), count}, std::span{filled.data(), count});
    return_reader(std::move(reader));
    // What could not be read keeps a key that matches no word, so its own fault reads it again and reports.
    for (std::size_t i = 0; i < count; ++i) ahead->keys[i] = filled[i] ? keys[i] : std::pair{keys[i].first, PageWord{}};
    ahead->count = count;
}

std::optional<Content> Pager::commit(Hvp page, ResolvedPage& resolved) {
    const PageIndex index = state_.index_of(page);
    const PageWord ticket{resolved.ticket};
    const PageWord now = state_.words.load(index);
    // With the entry claimed and the sequence unmoved, nobody can have put the page in or taken it out since resolve.
    PENUMBRA_ASSERT(now.state() != PageState::resident && now.version() == ticket.version(),
                    "a page was installed against the sequence rule");
    PageWord from = ticket;
    PageWord to = ticket.moved_to(PageState::resident);
    if (ticket.in_slot()) {
        // Limbo and packing are the same slot: a tier that has begun to read the page loses it to the guest.
        const bool same_slot = now.in_slot() && now.handle() == ticket.handle();
        if (!same_slot && !planted(Plant::commit_old_slot)) return std::nullopt;
        from = now;
        to = to.heated();
    }
    if (!state_.words.change(index, from, to)) return std::nullopt;
    resolved.committed = true;
    if (ticket.state() == PageState::compressed && planted(Plant::drop_before_install))
        state_.compressed->drop(ticket.store_handle());
    return resolved.content;
}

void Pager::conclude(Hvp page, ResolvedPage& resolved, Conclusion conclusion) {
    const PageIndex index = state_.index_of(page);
    const PageWord ticket{resolved.ticket};
    const auto slot = static_cast<std::uint32_t>(ticket.handle());
    if (conclusion == Conclusion::abandoned) {
        if (resolved.committed && !planted(Plant::abandon_keeps_word)) put_word_back(index, ticket);
        if (ticket.in_slot() && !planted(Plant::abandon_keeps_pin)) state_.limbo->unpin(slot);
        if (ticket.state() != PageState::resident && !planted(Plant::abandon_keeps_charge)) state_.budget.uncharge(1);
        return;
    }
    switch (ticket.state()) {
        case PageState::limbo:
        case PageState::packing:
            state_.stats.rescued.add();
            if (!planted(Plant::rescue_forgets_copy)) settle_copy(index, resolved, state_.limbo->take_copy(slot));
            state_.limbo->unpin(slot);
            return;
        case PageState::compressed:
        case PageState::stored:
        case PageState::remote:
            state_.stats.swapped_in.add();
            if (ticket.state() == PageState::compressed && planted(Plant::drop_before_install)) return;
            state_.copies.keep(ticket.only_copy());
            settle_copy(index, resolved, ticket.only_copy());
            return;
        case PageState::zero:
            return;
        case PageState::resident:
            assertion_failed("absent page", __FILE__, __LINE__, "a page that was resident was put in again");
    }
}

/// The page is in the window, and its copy nobody's: the word gets it, unless it is of no use.
void Pager::settle_copy(PageIndex page, const ResolvedPage& resolved, PageCopy copy) {
    if (!copy.exists()) return;
    if (resolved.access == FaultAccess::read && state_.copies.wants(copy.tier)) {
        const std::uint64_t version = PageWord{resolved.ticket}.version();
        for (;;) {
            const PageWord word = state_.words.load(page);
            // It may have left again, or have been discarded.
            if (word.state() != PageState::resident || word.version() != version) break;
            if (state_.words.change(page, word, word.with_copy(copy))) return;
        }
    }
    state_.copies.drop(copy);
}

void Pager::put_word_back(PageIndex page, PageWord ticket) {
    // The entry is still claimed, so nobody else moves a resident page's word but the sweep, which only cools it.
    const PageWord back = ticket.in_slot() ? ticket.moved_to(PageState::limbo, ticket.handle()) : ticket;
    for (PageWord now = state_.words.load(page); !state_.words.change(page, now, back); now = state_.words.load(page)) {
    }
}

}  // namespace penumbra::vmm
