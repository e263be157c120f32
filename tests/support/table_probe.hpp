// What tests of PageTable share: an allocator that can fail and notices misuse, a flush target that remembers, the
// walker and TLB of an imagined processor, and a look at the whole tree.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/mapped_region.hpp"
#include "base/mutex.hpp"
#include "shadow-mmu/table/page_table.hpp"

namespace penumbra::test {

inline constexpr std::uint64_t pages_2m = pages_spanned(Level::page_2m);
inline constexpr std::uint64_t pages_1g = pages_spanned(Level::page_1g);

/// Table pages from one region, shared by copies. Free ones are poisoned where asked, so that who reads one notices.
class ProbeNodes {
public:
    enum class Poison : std::uint8_t { no, yes };
    static constexpr std::uint64_t poison = 0xDEAD'DEAD'DEAD'DEAD;

    explicit ProbeNodes(std::uint64_t pages, Poison poisons = Poison::no) : state_(std::make_shared<State>()) {
        Result<MappedRegion> region = MappedRegion::anonymous(pages * page_bytes);
        PENUMBRA_ASSERT(region.has_value(), "no memory for a test");
        state_->region = std::move(*region);
        state_->poisons = poisons;
        for (std::uint64_t i = pages; i-- > 0;) {
            const Hvp page = state_->region.pages().first() + i;
            state_->free.push_back(page);
            if (poisons == Poison::yes) fill(page, poison);
        }
        state_->pages = pages;
    }
    [[nodiscard]] std::optional<Hvp> allocate() {
        const MutexLock lock(state_->mutex);
        if (state_->fail_in && (*state_->fail_in)-- == 0) {
            state_->fail_in = state_->fail_every;
            ++state_->failures;
            return std::nullopt;
        }
        if (state_->free.empty()) return std::nullopt;
        const Hvp page = state_->free.back();
        state_->free.pop_back();
        if (state_->poisons == Poison::yes) fill(page, 0);
        return page;
    }
    void give_back(Hvp page) {
        if (state_->on_give_back) state_->on_give_back();
        const MutexLock lock(state_->mutex);
        const auto* words = reinterpret_cast<const std::atomic<std::uint64_t>*>(pointer_to(page));
        for (std::uint64_t i = 0; i < entries_per_node; ++i) state_->dirty += words[i].load() != 0 ? 1U : 0U;
        if (state_->poisons == Poison::yes) fill(page, poison);
        state_->free.push_back(page);
    }
    [[nodiscard]] std::uint64_t allocated() const {
        const MutexLock lock(state_->mutex);
        return state_->pages - state_->free.size();
    }

    /// From now on every n-th allocation fails; nullopt: none.
    void fail_every(std::optional<std::uint64_t> n) {
        const MutexLock lock(state_->mutex);
        state_->fail_every = n ? std::optional(*n - 1) : std::nullopt;
        state_->fail_in = state_->fail_every;
    }
    void on_give_back(std::function<void()> call) { state_->on_give_back = std::move(call); }
    [[nodiscard]] std::uint64_t failures() const { return state_->failures; }
    /// Entries of pages given back that were not zero.
    [[nodiscard]] std::uint64_t dirty() const { return state_->dirty; }

private:
    struct State {
        Mutex mutex{LockRank::hold};
        MappedRegion region;
        Poison poisons = Poison::no;
        std::vector<Hvp> free;
        std::uint64_t pages = 0;
        std::optional<std::uint64_t> fail_every;
        std::optional<std::uint64_t> fail_in;
        std::uint64_t failures = 0;
        std::uint64_t dirty = 0;
        std::function<void()> on_give_back;
    };
    static void fill(Hvp page, std::uint64_t value) {
        auto* words = reinterpret_cast<std::atomic<std::uint64_t>*>(pointer_to(page));
        for (std::uint64_t i = 0; i < entries_per_node; ++i) words[i].store(value, std::memory_order_relaxed);
    }
    std::shared_ptr<State> state_;
};

/// A processor that walks the table and caches what it finds, for ever: only a flush takes it away. As hardware does it
/// sets A on a walk and D on the first write through a translation that it cached clean. One thread.
template <class Table>
class ModelledProcessor {
public:
    using Format = typename Table::Format;
    using Run = GfnRange;
    static constexpr std::size_t capacity = 4;

    explicit ModelledProcessor(Table& table) : table_(table) {}

    /// The page that the access reaches; nullopt: it faults.
    [[nodiscard]] std::optional<Hvp> access(Gfn gfn, mmu::Touch touch) {
        const auto found = cached_.find(gfn);
        if (found != cached_.end()) {
            const Cached& entry = found->second;
            if (touch == mmu::Touch::read || (entry.writable && entry.dirty)) return entry.page;
            cached_.erase(found);  // hardware walks again to set D or to fault
        }
        const rcu::ReadSection section;
        const auto cursor = table_.walk(gfn, Level::page_4k);
        for (;;) {
            const std::uint64_t raw = Table::Memory::load(*cursor.slot);
            if (!Format::allows(raw, touch)) return std::nullopt;
            std::uint64_t marked = Format::with_accessed(raw);
            if (touch == mmu::Touch::write) marked = Format::with_dirty(marked);
            if (marked != raw && !Table::Memory::compare_exchange(*cursor.slot, raw, marked)) continue;
            const Hvp page = Format::frame(raw, cursor.level) + gfn.value() % pages_spanned(cursor.level);
            cached_.insert_or_assign(gfn, Cached{page, Format::writable(marked), Format::is_dirty(marked)});
            return page;
        }
    }
    [[nodiscard]] bool caches(Gfn gfn) const { return cached_.contains(gfn); }

    void flush(std::span<const GfnRange> runs) {
        if (before_flush) before_flush();
        ++flushes;
        for (const GfnRange& run : runs) {
            cached_.erase(cached_.lower_bound(run.first()), cached_.lower_bound(run.end()));
        }
    }
    void flush_all() {
        if (before_flush) before_flush();
        ++flushes;
        cached_.clear();
    }

    std::function<void()> before_flush;
    unsigned flushes = 0;

private:
    struct Cached {
        Hvp page;
        bool writable;
        bool dirty;
    };
    Table& table_;
    std::map<Gfn, Cached> cached_;
};

/// What a whole tree holds.
struct TreeSum {
    std::uint64_t nodes = 0;
    std::uint64_t pages = 0;   ///< that leaves, present or aged, cover
    std::uint64_t broken = 0;  ///< entries in a state that no quiet table has, or leaves that are none
};

namespace detail {
template <class Table>
void add_node(typename Table::Slot* slots, Level level, TreeSum& sum) {
    using Format = typename Table::Format;
    ++sum.nodes;
    for (std::uint64_t i = 0; i < entries_per_node; ++i) {
        const std::uint64_t raw = Table::Memory::load(slots[i]);
        const mmu::EntryState state = Format::state(raw, level);
        if (state == mmu::EntryState::empty) continue;
        if (state == mmu::EntryState::table) {
            add_node<Table>(Table::slots_of(Format::frame(raw)), below(level), sum);
        } else if (mmu::is_whole_leaf<Format>(raw, level)) {
            sum.pages += pages_spanned(level);
        } else {
            ++sum.broken;
        }
    }
}
}  // namespace detail

template <class Table>
[[nodiscard]] TreeSum sum_of(Table& table) {
    TreeSum sum;
    detail::add_node<Table>(table.walk(Gfn{0}, Table::Format::top_level).slot, Table::Format::top_level, sum);
    return sum;
}

/// Puts a leaf in as a fault does. False: there is something, or no table page.
template <class Table>
bool install(Table& table, Gfn gfn, Hvp page, mmu::Rights rights, Level level = Level::page_4k) {
    using Format = typename Table::Format;
    using Memory = typename Table::Memory;
    const rcu::ReadSection section;
    const auto cursor = table.find_or_create(gfn, level);
    if (cursor.slot == nullptr || cursor.level != level) return false;
    const std::uint64_t leaf = Format::leaf(page, rights, level);
    if (!mmu::transition<Format, Memory>(*cursor.slot, 0, Format::busy(), level, table.counters())) return false;
    mmu::settle<Format, Memory>(*cursor.slot, Format::busy(), leaf, level, table.counters());
    return true;
}

/// A touch that the walker could not serve: as TableBase::touch.
template <class Table>
bool grant(Table& table, Gfn gfn, mmu::Touch touch) {
    using Format = typename Table::Format;
    const rcu::ReadSection section;
    const auto cursor = table.walk(gfn, Level::page_4k);
    const std::uint64_t raw = Table::Memory::load(*cursor.slot);
    if (!mmu::is_leaf(Format::state(raw, cursor.level))) return false;
    const std::uint64_t better = Format::touched(raw, touch);
    if (!Format::allows(better, touch)) return false;
    return raw == better ||
           mmu::transition<Format, typename Table::Memory>(*cursor.slot, raw, better, cursor.level, table.counters());
}

}  // namespace penumbra::test
