#include "shadow-mmu/tables/io_table.hpp"

#include <algorithm>

#include "base/planted.hpp"
#include "base/wait.hpp"

namespace penumbra::mmu {

namespace {

constexpr HoldTimes::Clock::time_point never = HoldTimes::Clock::time_point::max();

}  // namespace

IoTable::IoTable(std::string name, Memslots memslots, NodeArena arena, AccessCounts counts,
                 std::chrono::milliseconds patience)
    : TableBase(std::move(memslots), std::move(arena)),
      name_(std::move(name)),
      patience_(patience),
      counts_(std::move(counts)) {
    PENUMBRA_ASSERT(counts_.pages() >= memslots_.pages(), "fewer access counts than pages");
}

bridge::StartResult IoTable::invalidate_start(const bridge::InvalidationEvent& event) {
    const auto first = steady_now();
    std::vector<Frozen> frozen;
    bool waited = false;
    for (;;) {
        if (!begin(event, frozen)) return bridge::StartResult::would_block;
        if (planted(Plant::skip_io_drain) || !busy(frozen)) break;
        if (event.blockable == bridge::Blockable::no) {
            undo(event, frozen);
            return bridge::StartResult::would_block;
        }
        waited = true;
        const std::vector<std::uint64_t> numbers = numbers_of(frozen);
        if (steady_now() - first >= patience_ || planted(Plant::wait_while_frozen)) {
            (void)wait_for_holds(numbers, never);
            break;
        }
        undo(event, frozen);
        (void)wait_for_holds(numbers, first + patience_);
    }
    if (waited) {
        stats_.waits.add();
        const std::chrono::nanoseconds passed = steady_now() - first;
        stats_.wait_ns.add(static_cast<std::uint64_t>(passed.count()));
    }
    drop(frozen);
    return bridge::StartResult::done;
}

void IoTable::release() {
    const Everything all = freeze_everything();
    (void)wait_for_holds(numbers_of(all.frozen), never);
    for (const Frozen& entry : all.frozen) clear(entry);
}

bool IoTable::begin(const bridge::InvalidationEvent& event, std::vector<Frozen>& frozen) {
    sequence_.hold_off(event.ranges);
    if (freeze(event, frozen)) return true;
    sequence_.lift(event.ranges);
    return false;
}

void IoTable::undo(const bridge::InvalidationEvent& event, std::vector<Frozen>& frozen) {
    for (const Frozen& entry : frozen) thaw(entry);
    frozen.clear();
    sequence_.lift(event.ranges);
}

// A page without an entry has no holds: whoever cleared the entry waited for them. So what was frozen is all there is
// to wait for.
bool IoTable::busy(const std::vector<Frozen>& frozen) const {
    return std::any_of(frozen.begin(), frozen.end(),
                       [this](const Frozen& entry) { return counts_.busy(number_of(entry.gfn)); });
}

std::vector<std::uint64_t> IoTable::numbers_of(const std::vector<Frozen>& frozen) const {
    std::vector<std::uint64_t> numbers;
    numbers.reserve(frozen.size());
    for (const Frozen& entry : frozen) numbers.push_back(number_of(entry.gfn));
    return numbers;
}

bool IoTable::wait_for_holds(const std::vector<std::uint64_t>& numbers, HoldTimes::Clock::time_point deadline) {
    return std::all_of(numbers.begin(), numbers.end(), [&](std::uint64_t number) {
        return !counts_.busy(number) || counts_.wait_until_idle(number, deadline);
    });
}

std::optional<IoTable::Place> IoTable::place_of(Gfn gfn) const {
    std::uint64_t before = 0;
    for (const Memslot& slot : memslots_.slots()) {
        if (slot.guest.contains(gfn)) {
            const std::uint64_t offset = gfn - slot.guest.first();
            return Place{before + offset, slot.guest.pages() - offset, slot.host + offset};
        }
        before += slot.guest.pages();
    }
    return std::nullopt;
}

bool IoTable::in_use(Hvp page) const {
    std::uint64_t before = 0;
    for (const Memslot& slot : memslots_.slots()) {
        if (slot.host_pages().contains(page)) return counts_.busy(before + (page - slot.host));
        before += slot.guest.pages();
    }
    return false;
}

bool IoTable::enter(Gfn gfn, std::uint64_t number) {
    // A first look keeps those who ask again and again from being waited for by the start they lost against.
    if (!present(gfn) || !counts_.enter(number)) return false;
    if (planted(Plant::hold_unchecked) || present(gfn)) return true;
    counts_.leave(number);
    return false;
}

std::optional<IoTable::Hold> IoTable::hold(Gfn first, std::uint64_t pages, HoldFor purpose) {
    PENUMBRA_ASSERT(pages > 0, "a hold of no page");
    const std::optional<Place> place = place_of(first);
    if (!place) return std::nullopt;
    const std::uint64_t most = std::min(pages, place->left);
    std::uint64_t held = 0;
    while (held < most && enter(first + held, place->number + held)) ++held;
    if (held == 0) return std::nullopt;
    Hold hold;
    hold.table_ = this;
    hold.pages_ = HvpRange{place->host, held};
    hold.first_ = place->number;
    if (purpose == HoldFor::io) hold.timed_ = times_.enter(held);
    stats_.holds.add();
    return hold;
}

IoTable::Hold& IoTable::Hold::operator=(Hold&& other) noexcept {
    if (this == &other) return *this;
    release();
    table_ = std::exchange(other.table_, nullptr);
    pages_ = other.pages_;
    first_ = other.first_;
    timed_ = std::exchange(other.timed_, std::nullopt);
    return *this;
}

std::optional<IoTable::Hold> IoTable::Hold::again(HoldFor purpose) const {
    PENUMBRA_ASSERT(table_ != nullptr, "a hold of nothing was repeated");
    Hold twin;
    twin.table_ = table_;
    twin.first_ = first_;
    for (std::uint64_t i = 0; i < pages_.pages(); ++i) {
        // The pages are held, so their entries need no look. What was entered so far leaves with `twin`.
        if (!table_->counts_.enter(first_ + i)) return std::nullopt;
        twin.pages_ = HvpRange{pages_.first(), i + 1};
    }
    if (purpose == HoldFor::io) twin.timed_ = table_->times_.enter(pages_.pages());
    table_->stats_.holds.add();
    return twin;
}

void IoTable::Hold::release() {
    if (table_ == nullptr) return;
    if (timed_) table_->times_.leave(*timed_, pages_.pages());
    for (std::uint64_t i = 0; i < pages_.pages(); ++i) table_->counts_.leave(first_ + i);
    table_ = nullptr;
    timed_.reset();
}

}  // namespace penumbra::mmu
