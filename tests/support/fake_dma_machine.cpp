#include "tests/support/fake_dma_machine.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "tests/support/guest_touch.hpp"

namespace penumbra::test {

namespace {

template <class T>
T made(Result<T> result) {
    PENUMBRA_ASSERT(result.has_value(), "no memory for a test");
    return std::move(*result);
}

}  // namespace

// ---- SlowPages ----

Result<mmu::ResolvedPage> SlowPages::resolve(Hvp page, mmu::FaultAccess access) {
    {
        const MutexLock lock(mutex_);
        ++waiting_;
        while (held_.contains(page)) changed_.wait(mutex_);
        --waiting_;
    }
    return pages_.resolve(page, access);
}

void SlowPages::hold(Hvp page) {
    const MutexLock lock(mutex_);
    held_.insert(page);
}

void SlowPages::let_go() {
    const MutexLock lock(mutex_);
    held_.clear();
    changed_.notify_all();
}

bool SlowPages::is_held(Hvp page) const {
    const MutexLock lock(mutex_);
    return held_.contains(page);
}

unsigned SlowPages::waiting() const {
    const MutexLock lock(mutex_);
    return waiting_;
}

// ---- FakeDmaMachine ----

mmu::Memslots FakeDmaMachine::make_slots(const FakeWindow& window) {
    const Hvp first = window.pages().first();
    return mmu::Memslots({{GfnRange{low_first, slot_pages}, first}, {GfnRange{high_first, slot_pages}, first + 1024}});
}

FakeDmaMachine::FakeDmaMachine(std::chrono::milliseconds patience)
    : ept_(make_slots(window_), made(mmu::NodeArena::create(64)), window_),
      table_("io", make_slots(window_), made(mmu::NodeArena::create(64)),
             made(mmu::AccessCounts::create(2 * slot_pages)), patience),
      ept_subscription_(space_.subscribe(ept_)),
      table_subscription_(space_.subscribe(table_)) {
    vmm::DmaServiceOptions options;
    options.is_slow = [this](Hvp page) { return slow_.is_held(page); };
    options.on_error = [this](const Error&) { errors_.fetch_add(1); };
    service_.emplace(table_, ept_, slow_, std::move(options));
}

FakeDmaMachine::~FakeDmaMachine() {
    pager_.set_mood(FakePages::Mood::serve);
    slow_.let_go();
    service_.reset();
}

void FakeDmaMachine::write(Gpa to, std::span<const std::byte> from) { guest_write(ept_, slow_, to, from); }

void FakeDmaMachine::read(Gpa from, std::span<std::byte> to) { guest_read(ept_, slow_, from, to); }

std::optional<std::uint64_t> FakeDmaMachine::evict(GfnRange range, bridge::Blockable blockable) {
    const MappedRegion staging = make_region(range.pages());
    const bridge::RangeSet ranges(HvpRange{host(range.first()), range.pages()});
    return swap_out(space_, pager_, ranges, staging, blockable);
}

void FakeDmaMachine::evict_all() {
    (void)evict(GfnRange{low_first, slot_pages});
    (void)evict(GfnRange{high_first, slot_pages});
}

}  // namespace penumbra::test
