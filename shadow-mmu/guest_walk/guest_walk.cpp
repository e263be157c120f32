#include "shadow-mmu/guest_walk/guest_walk.hpp"

#include <utility>

#include "base/assert.hpp"
#include "shadow-mmu/guest_walk/guest_entry.hpp"
#include "shadow-mmu/guest_walk/guest_rights.hpp"
#include "shadow-mmu/guest_walk/walk_bugs.hpp"

namespace penumbra::mmu {

namespace bit = guest_entry;

namespace {

GuestFaultCause guest_cause(EntryProblem problem) {
    return problem == EntryProblem::absent ? GuestFaultCause::table_absent : GuestFaultCause::table_not_ram;
}
GuestFaultCause guest_cause(EntryExchange failed) {
    if (failed == EntryExchange::absent) return GuestFaultCause::table_absent;
    return failed == EntryExchange::not_ram ? GuestFaultCause::table_not_ram : GuestFaultCause::table_unstable;
}

/// One round: from the root to a leaf, through entries as they are read.
class GuestRound {
public:
    GuestRound(GuestEntries& entries, const PagingMode& mode, const GuestWalkRequest& request)
        : entries_(entries), mode_(mode), request_(request) {}

    /// Reads every entry and checks the access.
    [[nodiscard]] std::expected<void, GuestFault> descend() {
        Gpa table{request_.root.value() & bit::address};
        for (level_ = mode_.top;; level_ = below(level_)) {
            const std::uint64_t index = request_.address.value() >> index_shift(level_) & (entries_per_node - 1);
            entry_ = table + index * sizeof(std::uint64_t);
            const auto raw = entries_.read(entry_);
            if (!raw) return fault(guest_cause(raw.error()));
            const bool present = (*raw & bit::present) != 0;
            if (!present && !walk_bug(WalkBug::reserved_when_absent)) return fault(GuestFaultCause::not_present);
            if (has_reserved_bit(mode_, level_, *raw)) return fault(GuestFaultCause::reserved_bit);
            if (!present) return fault(GuestFaultCause::not_present);
            restrict(rights_, mode_, level_, *raw);
            path_.add({level_, entry_, *raw});
            if (is_leaf(level_, *raw)) break;
            table = Gpa{*raw & bit::address};
        }
        if (walk_bug(WalkBug::mark_before_check)) std::ignore = mark();
        if (const auto cause = denial(mode_, request_.access, rights_)) return fault(*cause);
        return {};
    }

    /// Sets the accessed and dirty flags.
    [[nodiscard]] WalkPath<Gpa>::Marked mark() {
        const bool dirties = (request_.access.kind == AccessKind::write && !walk_bug(WalkBug::never_dirty)) ||
                             (request_.access.kind == AccessKind::read && walk_bug(WalkBug::dirty_on_read));
        const std::uint64_t at_leaf = bit::accessed | (dirties ? bit::dirty : 0);
        return path_.mark(entries_, walk_bug(WalkBug::leaf_marked_only) ? 0 : bit::accessed, at_leaf);
    }

    [[nodiscard]] GuestTranslation translation() const {
        const std::uint64_t leaf = path_.leaf().value;
        const std::uint64_t offset_mask = bit::bits(0, index_shift(level_) - 1);
        const std::uint64_t pat = level_ == Level::page_4k || walk_bug(WalkBug::pat_of_4k_in_large)
                                      ? leaf & bit::pat_4k
                                      : leaf & bit::pat_large;
        const std::uint64_t base_mask = walk_bug(WalkBug::large_base_unmasked) ? bit::address : ~offset_mask;
        GuestTranslation found;
        found.gpa = Gpa{(leaf & bit::address & base_mask) | (request_.address.value() & offset_mask)};
        found.leaf = level_;
        found.writable = rights_.writable;
        found.user = rights_.user;
        found.executable = rights_.executable;
        found.dirty = (leaf & bit::dirty) != 0;
        found.global = mode_.global_pages && (leaf & bit::global) != 0;
        found.protection_key = rights_.protection_key;
        found.memory_type_index =
            static_cast<std::uint8_t>((pat != 0 ? 4 : 0) | ((leaf & bit::cache_disable) != 0 ? 2 : 0) |
                                      ((leaf & bit::write_through) != 0 ? 1 : 0));
        found.path = path_;
        return found;
    }

    [[nodiscard]] std::unexpected<GuestFault> fault(GuestFaultCause cause) const { return fault(cause, entry_); }
    [[nodiscard]] std::unexpected<GuestFault> fault(GuestFaultCause cause, Gpa entry) const {
        const bool has_code = cause < GuestFaultCause::non_canonical || cause == GuestFaultCause::table_not_ram;
        const std::uint32_t code = has_code ? error_code_of(cause, mode_, request_.access, rights_) : 0;
        return std::unexpected{GuestFault{cause, code, level_, entry}};
    }

private:
    GuestEntries& entries_;
    const PagingMode& mode_;
    const GuestWalkRequest& request_;
    WalkPath<Gpa> path_;
    GuestRights rights_;
    Level level_ = Level::page_4k;
    Gpa entry_{};
};

}  // namespace

GuestWalkResult walk_guest(GuestEntries& entries, const PagingMode& mode, const GuestWalkRequest& request) {
    PENUMBRA_ASSERT(mode.top == Level::top_4 || mode.top == Level::top_5, "paging of 4 or 5 levels only");
    PENUMBRA_ASSERT(mode.physical_bits >= 32 && mode.physical_bits <= 52, "no processor has such physical addresses");
    if (!is_canonical(request.address, mode.top)) {
        return std::unexpected{GuestFault{GuestFaultCause::non_canonical, 0, mode.top, Gpa{}}};
    }
    for (unsigned restarts = 0;; ++restarts) {
        GuestRound round(entries, mode, request);
        if (const auto allowed = round.descend(); !allowed) return std::unexpected{allowed.error()};
        if (request.mark == MarkPages::no) return round.translation();
        const WalkPath<Gpa>::Marked marked = round.mark();
        const bool changed = marked.result == EntryExchange::changed;
        if (marked.result == EntryExchange::done || (changed && walk_bug(WalkBug::change_ignored))) {
            return round.translation();
        }
        if (!changed || restarts == max_walk_restarts) return round.fault(guest_cause(marked.result), marked.entry);
    }
}

}  // namespace penumbra::mmu
