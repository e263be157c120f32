#include "tests/support/fake_window.hpp"

#include <cstring>
#include <utility>

#include "base/assert.hpp"

namespace penumbra::test {

using mmu::Content;

namespace {

/// ResolvedPage::ticket once commit() took the page over.
constexpr std::uint64_t committed = ~std::uint64_t{0};

}  // namespace

MappedRegion make_region(std::uint64_t pages) {
    Result<MappedRegion> region = MappedRegion::anonymous(pages * page_bytes);
    PENUMBRA_ASSERT(region.has_value(), "no memory for a test");
    return std::move(*region);
}

// ---- FakeWindow ----

FakeWindow::FakeWindow(std::uint64_t pages) : region_(make_region(pages)), present_(pages), protected_(pages) {
    std::memset(region_.data(), std::to_integer<int>(poison), region_.size());
}

Result<> FakeWindow::put_in(Hvp page, Content content) {
    if (present(page)) violations_.add();
    std::byte* const to = pointer_to(page);
    if (content.kind == Content::Kind::zero) {
        std::memset(to, 0, page_bytes);
    } else {
        std::memcpy(to, pointer_to(content.source), page_bytes);
    }
    flag(page).store(true, std::memory_order_release);
    put_ins_.add();
    return {};
}

void FakeWindow::leave(Hvp page) {
    if (!present(page)) violations_.add();
    flag(page).store(false, std::memory_order_release);
    protected_[page - region_.pages().first()].store(false, std::memory_order_release);
    std::memset(pointer_to(page), std::to_integer<int>(poison), page_bytes);
}

std::size_t FakeWindow::take_out(HvpRange run, Hvp staging) {
    for (std::size_t i = 0; i < run.pages(); ++i) {
        const Hvp page = run.first() + i;
        if (page.value() == kept_.load(std::memory_order_acquire)) return i;
        std::memcpy(pointer_to(staging + i), pointer_to(page), page_bytes);
        leave(page);
        taken_.add();
    }
    return run.pages();
}

void FakeWindow::drop(HvpRange run) {
    for (Hvp page = run.first(); page < run.end(); ++page) leave(page);
}

Result<> FakeWindow::protect(HvpRange run) {
    protections_.add();
    for (Hvp page = run.first(); page < run.end(); ++page) {
        if (!present(page)) violations_.add();
        protected_[page - region_.pages().first()].store(true, std::memory_order_release);
        if (refuses_.load(std::memory_order_acquire)) return fail("write-protect", "the test's window");
    }
    return {};
}

void FakeWindow::unprotect(HvpRange run) {
    for (Hvp page = run.first(); page < run.end(); ++page) {
        protected_[page - region_.pages().first()].store(false, std::memory_order_release);
    }
}

// ---- FakePages ----

FakePages::FakePages(HvpRange window) : window_(window), store_(make_region(window.pages())), states_(window.pages()) {}

Result<mmu::ResolvedPage> FakePages::resolve(Hvp page, mmu::FaultAccess) {
    const MutexLock lock(mutex_);
    resolves_.add();
    waiting_.add();
    while (mood_ == Mood::hold) mood_changed_.wait(mutex_);
    waiting_.sub();
    if (mood_ == Mood::fail) return fail("read a stored page", "the test's store");
    return mmu::ResolvedPage{Content{}, states_[page - window_.first()].version};
}

std::optional<Content> FakePages::commit(Hvp page, mmu::ResolvedPage& resolved) {
    const MutexLock lock(mutex_);
    Page& state = states_[page - window_.first()];
    if (state.in_window || state.version != resolved.ticket) return std::nullopt;
    state.in_window = true;
    ++state.version;
    resolved.ticket = committed;
    if (state.zero) return Content{};
    return Content{Content::Kind::copy, hva_of(content_of(page))};
}

void FakePages::conclude(Hvp page, mmu::ResolvedPage& resolved, mmu::Conclusion conclusion) {
    if (conclusion == mmu::Conclusion::installed || resolved.ticket != committed) return;
    const MutexLock lock(mutex_);
    Page& state = states_[page - window_.first()];
    state.in_window = false;
    ++state.version;
}

void FakePages::save(Hvp page, const std::byte* content) {
    const MutexLock lock(mutex_);
    Page& state = states_[page - window_.first()];
    std::memcpy(content_of(page), content, page_bytes);
    state.in_window = false;
    state.zero = false;
    ++state.version;
}

void FakePages::set_mood(Mood mood) {
    const MutexLock lock(mutex_);
    mood_ = mood;
    mood_changed_.notify_all();
}

// ---- swap_out ----

std::optional<std::uint64_t> swap_out(bridge::AddressSpace& space, FakePages& pager, const bridge::RangeSet& ranges,
                                      const MappedRegion& staging, bridge::Blockable blockable) {
    const std::uint64_t pages = ranges.pages();
    PENUMBRA_ASSERT(staging.pages().pages() >= pages, "staging smaller than the event");
    std::vector<Hvp> slots;
    for (std::uint64_t i = 0; i < pages; ++i) slots.push_back(staging.pages().first() + i);
    std::vector<bridge::TakeOut> outcomes(pages);
    bridge::StagingPlan plan{slots, outcomes};
    bridge::InvalidationEvent event;
    event.reason = bridge::Reason::swap_out;
    event.blockable = blockable;
    event.ranges = ranges;
    event.staging = &plan;

    const bridge::Invalidation bracket(space, std::move(event));
    if (!bracket.started()) return std::nullopt;
    std::uint64_t taken = 0;
    std::size_t index = 0;
    for (const HvpRange& range : ranges.ranges()) {
        for (Hvp page = range.first(); page < range.end(); ++page, ++index) {
            if (outcomes[index] != bridge::TakeOut::taken) continue;
            pager.save(page, pointer_to(slots[index]));
            ++taken;
        }
    }
    return taken;
}

}  // namespace penumbra::test
