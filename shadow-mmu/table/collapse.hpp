// A table of 512 leaves of consecutive pages becomes one large leaf: freeze the leaves and the entry above, flush the
// whole range, put the large leaf in, retire the table page. Between freeze and leaf the range translates nothing.
#pragma once

#include <cstdint>
#include <optional>

#include "base/planted.hpp"
#include "shadow-mmu/flush/flush_batch.hpp"
#include "shadow-mmu/table/page_table.hpp"

namespace penumbra::mmu {

enum class CollapseResult : std::uint8_t {
    done,
    no_table,     ///< nothing at that level to collapse
    not_uniform,  ///< some page is missing, elsewhere, aligned otherwise or has other rights
    contended,    ///< somebody has one of the entries in hand: try again another time
};

namespace collapse_detail {

/// What the large leaf takes over from 512 small ones, learnt one by one.
template <class Format>
class Merged {
public:
    Merged(std::uint64_t first, Level level) : level_(level), first_(Format::revived(first)) {}

    /// False when leaf `index` does not belong to the same large page.
    [[nodiscard]] bool add(std::uint64_t leaf, std::uint64_t index) {
        const Level small = below(level_);
        if (!is_leaf(Format::state(leaf, small))) return false;
        if (!Format::alike(first_, Format::revived(leaf), small)) return false;
        const Hvp page = Format::frame(first_, small) + index * pages_spanned(small);
        if (Format::frame(leaf, small) != page) return false;
        if (planted(Plant::collapse_forgets_marks)) return true;
        young_ = young_ || Format::young(leaf);
        dirty_ = dirty_ || Format::is_dirty(leaf);
        writable_ = writable_ && Format::writable(leaf);
        return true;
    }
    /// Written by anybody, dirty; touched by anybody, young; writable only where all were, for a right that the logging
    /// of writes took away must not come back unseen.
    [[nodiscard]] std::uint64_t leaf() const {
        std::uint64_t leaf = Format::parent(first_, level_);
        if (!writable_) leaf = Format::write_protected(leaf);
        if (dirty_) leaf = Format::with_dirty(leaf);
        return young_ ? Format::with_accessed(leaf) : Format::aged(leaf);
    }

private:
    Level level_;
    std::uint64_t first_;
    bool young_ = false;
    bool dirty_ = false;
    bool writable_ = true;
};

/// Freezes the leaves of one page in order, and thaws them again if that is all that comes of it.
template <class Table>
class FrozenLeaves {
public:
    using Format = typename Table::Format;
    using Memory = typename Table::Memory;

    FrozenLeaves(Table& table, typename Table::Slot* slots, Level level)
        : table_(table), slots_(slots), level_(level) {}
    ~FrozenLeaves() {
        for (std::uint64_t i = 0; i < count_; ++i) finish(i, Format::thawed(Memory::load(slots_[i])));
    }
    FrozenLeaves(const FrozenLeaves&) = delete;
    FrozenLeaves& operator=(const FrozenLeaves&) = delete;

    /// Freezes the next leaf. nullopt: it is none, or somebody has it in hand.
    [[nodiscard]] std::optional<std::uint64_t> freeze_next() {
        for (;;) {
            const std::uint64_t raw = Memory::load_ordered(slots_[count_]);
            if (!is_leaf(Format::state(raw, level_))) return std::nullopt;
            if (!transition<Format, Memory>(slots_[count_], raw, Format::frozen(raw), level_, table_.counters())) {
                continue;
            }
            ++count_;
            return raw;
        }
    }
    /// The page was unlinked: nobody finds the leaves any more, and who waits for one walks again.
    void retire() {
        for (std::uint64_t i = 0; i < count_; ++i) finish(i, Format::retired());
        count_ = 0;
    }

private:
    void finish(std::uint64_t i, std::uint64_t to) {
        settle<Format, Memory>(slots_[i], Memory::load(slots_[i]), to, level_, table_.counters());
    }
    Table& table_;
    typename Table::Slot* slots_;
    Level level_;
    std::uint64_t count_ = 0;
};

}  // namespace collapse_detail

/// Collapses the table below the entry at `level` that covers `gfn`. Commits `batch` itself. Does not wait for entries
/// in other hands. Afterwards reclaim() may be due.
template <class Table, class Target>
[[nodiscard]] CollapseResult collapse(Table& table, Gfn gfn, Level level, FlushBatch<Target>& batch) {
    using Format = typename Table::Format;
    using Memory = typename Table::Memory;
    const GfnRange range{Gfn{gfn.value() / pages_spanned(level) * pages_spanned(level)}, pages_spanned(level)};
    std::optional<rcu::ReadSection> section(std::in_place);
    const auto above = table.walk(gfn, level);
    const std::uint64_t link = Memory::load_ordered(*above.slot);
    if (above.level != level || Table::state_of(link, level) != EntryState::table) return CollapseResult::no_table;

    typename Table::Slot* slots = Table::slots_of(Format::frame(link));
    collapse_detail::FrozenLeaves<Table> leaves(table, slots, below(level));
    std::optional<collapse_detail::Merged<Format>> merged;
    for (std::uint64_t i = 0; i < entries_per_node; ++i) {
        const std::optional<std::uint64_t> leaf = leaves.freeze_next();
        if (!leaf) {
            const EntryState state = Table::state_of(Memory::load(slots[i]), below(level));
            const bool owned = state != EntryState::empty && state != EntryState::table;
            return owned ? CollapseResult::contended : CollapseResult::not_uniform;
        }
        if (i == 0) {
            if (Format::frame(*leaf, below(level)).value() % pages_spanned(level) != 0) {
                return CollapseResult::not_uniform;
            }
            merged.emplace(*leaf, level);
        }
        if (!merged->add(*leaf, i)) return CollapseResult::not_uniform;
    }
    // Who owns all entries of a page owns the entry that names it: only the walker may still mark that one accessed.
    std::uint64_t named = link;
    while (!transition<Format, Memory>(*above.slot, named, Format::frozen(named), level, table.counters())) {
        named = Memory::load_ordered(*above.slot);
    }
    section.reset();  // pages with owned entries stay
    if (!planted(Plant::collapse_skips_flush)) {
        batch.add(range);
        batch.commit();
        table.counters().tlb_flushes.add();
    }
    settle<Format, Memory>(*above.slot, Format::frozen(named), merged->leaf(), level, table.counters());
    leaves.retire();
    table.retire_node(Format::frame(named));
    table.counters().collapses.add();
    return CollapseResult::done;
}

}  // namespace penumbra::mmu
