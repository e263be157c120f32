#include "shadow-mmu/guest_walk/ept_walk.hpp"

#include <tuple>

#include "base/assert.hpp"
#include "shadow-mmu/guest_walk/ept_entry.hpp"
#include "shadow-mmu/guest_walk/walk_bugs.hpp"

namespace penumbra::mmu {

namespace {

constexpr std::uint64_t permission_bits =
    ept_entry::read | ept_entry::write | ept_entry::execute | ept_entry::user_execute;

EptFaultCause ept_cause(EntryProblem problem) {
    return problem == EntryProblem::absent ? EptFaultCause::table_absent : EptFaultCause::table_not_ram;
}
EptFaultCause ept_cause(EntryExchange failed) {
    if (failed == EntryExchange::absent) return EptFaultCause::table_absent;
    return failed == EntryExchange::not_ram ? EptFaultCause::table_not_ram : EptFaultCause::table_unstable;
}

bool is_table_access(EptAccess access) { return access == EptAccess::table_read || access == EptAccess::table_update; }

/// Bits 0 to 2 of the qualification; the permissions that the access needs are the same bits of an entry.
std::uint32_t kind_bits(const EptMode& mode, EptAccess access) {
    switch (access) {
        case EptAccess::read:
            return ept_violation::read;
        case EptAccess::write:
            return ept_violation::write;
        case EptAccess::fetch:
        case EptAccess::fetch_user:
            return ept_violation::fetch;
        case EptAccess::table_read:
            if (!mode.accessed_dirty || walk_bug(WalkBug::ept_table_access_is_read)) return ept_violation::read;
            return ept_violation::read | ept_violation::write;
        case EptAccess::table_update:
            return ept_violation::read | ept_violation::write;
    }
    return 0;
}

std::uint64_t needed_permissions(const EptMode& mode, EptAccess access) {
    const bool by_user =
        access == EptAccess::fetch_user && mode.mode_based_execute && !walk_bug(WalkBug::ept_user_execute_ignored);
    return by_user ? ept_entry::user_execute : kind_bits(mode, access);
}

/// One round: from the root to a leaf, through entries as they are read.
class EptRound {
public:
    EptRound(EptEntries& entries, const EptMode& mode, const EptWalkRequest& request)
        : entries_(entries), mode_(mode), request_(request) {}

    /// Of an address that no entry of the top table translates.
    [[nodiscard]] std::unexpected<EptFault> unreachable() {
        level_ = mode_.top;
        permissions_ = 0;
        return fault(EptFaultCause::violation, EptAddress{});
    }

    [[nodiscard]] std::expected<void, EptFault> descend() {
        EptAddress table{request_.root.value() & ept_entry::address};
        for (level_ = mode_.top;; level_ = below(level_)) {
            const std::uint64_t index = request_.address.value() >> index_shift(level_) & (entries_per_node - 1);
            entry_ = table + index * sizeof(std::uint64_t);
            const auto raw = entries_.read(entry_);
            if (!raw) return fault(ept_cause(raw.error()), entry_);
            if (!ept_entry::is_present(mode_, *raw)) {
                permissions_ = 0;
                return fault(EptFaultCause::violation, entry_);
            }
            if (ept_entry::is_misconfigured(mode_, level_, *raw)) return fault(EptFaultCause::misconfiguration, entry_);
            const bool leaf = ept_entry::is_leaf(level_, *raw);
            if (leaf || !walk_bug(WalkBug::ept_permission_at_leaf_only)) permissions_ &= *raw;
            path_.add({level_, entry_, *raw});
            if (leaf) break;
            table = EptAddress{*raw & ept_entry::address};
        }
        if (walk_bug(WalkBug::ept_mark_before_check)) std::ignore = mark();
        const std::uint64_t needed = needed_permissions(mode_, request_.access);
        if ((permissions_ & needed) != needed) return fault(EptFaultCause::violation, entry_);
        return {};
    }

    [[nodiscard]] WalkPath<EptAddress>::Marked mark() {
        if (!mode_.accessed_dirty) return {};
        const bool writes = (kind_bits(mode_, request_.access) & ept_violation::write) != 0;
        return path_.mark(entries_, ept_entry::accessed, ept_entry::accessed | (writes ? ept_entry::dirty : 0));
    }

    [[nodiscard]] EptTranslation translation() const {
        const std::uint64_t leaf = path_.leaf().value;
        const std::uint64_t offset_mask = ept_entry::bits(0, index_shift(level_) - 1);
        EptTranslation found;
        found.address =
            EptAddress{(leaf & ept_entry::address & ~offset_mask) | (request_.address.value() & offset_mask)};
        found.leaf = level_;
        found.readable = (permissions_ & ept_entry::read) != 0;
        found.writable = (permissions_ & ept_entry::write) != 0;
        found.executable = (permissions_ & ept_entry::execute) != 0;
        found.user_executable =
            (permissions_ & (mode_.mode_based_execute ? ept_entry::user_execute : ept_entry::execute)) != 0;
        found.ignore_pat = (leaf & ept_entry::ignore_pat) != 0;
        found.memory_type = ept_entry::memory_type(leaf);
        found.path = path_;
        return found;
    }

    [[nodiscard]] std::unexpected<EptFault> fault(EptFaultCause cause, EptAddress entry) const {
        const std::uint32_t qualification = cause == EptFaultCause::violation ? qualify() : 0;
        return std::unexpected{EptFault{cause, qualification, level_, entry}};
    }

private:
    [[nodiscard]] std::uint32_t qualify() const {
        std::uint32_t found = kind_bits(mode_, request_.access);
        if ((permissions_ & ept_entry::read) != 0) found |= ept_violation::readable;
        if ((permissions_ & ept_entry::write) != 0) found |= ept_violation::writable;
        if ((permissions_ & ept_entry::execute) != 0) found |= ept_violation::executable;
        if (mode_.mode_based_execute && (permissions_ & ept_entry::user_execute) != 0) {
            found |= ept_violation::user_executable;
        }
        if (request_.origin == EptOrigin::linear_address) {
            found |= ept_violation::linear_valid;
            if (!is_table_access(request_.access)) found |= ept_violation::final_translation;
        }
        return found;
    }

    EptEntries& entries_;
    const EptMode& mode_;
    const EptWalkRequest& request_;
    WalkPath<EptAddress> path_;
    std::uint64_t permissions_ = permission_bits;
    Level level_ = Level::page_4k;
    EptAddress entry_{};
};

/// A 4-level walk takes 48 bits of address; what has more is not mapped (SDM volume 3, 29.3.2).
bool beyond_reach(const EptMode& mode, Gpa address) {
    return address.value() >> (index_shift(mode.top) + index_bits) != 0;
}

}  // namespace

EptWalkResult walk_ept(EptEntries& entries, const EptMode& mode, const EptWalkRequest& request) {
    PENUMBRA_ASSERT(mode.top == Level::top_4 || mode.top == Level::top_5, "EPT of 4 or 5 levels only");
    PENUMBRA_ASSERT(mode.physical_bits >= 32 && mode.physical_bits <= 52, "no processor has such physical addresses");
    for (unsigned restarts = 0;; ++restarts) {
        EptRound round(entries, mode, request);
        if (beyond_reach(mode, request.address)) return round.unreachable();
        if (const auto allowed = round.descend(); !allowed) return std::unexpected{allowed.error()};
        const WalkPath<EptAddress>::Marked marked = round.mark();
        if (marked.result == EntryExchange::done) return round.translation();
        if (marked.result != EntryExchange::changed || restarts == max_walk_restarts) {
            return round.fault(ept_cause(marked.result), marked.entry);
        }
    }
}

std::expected<Eptp, EptpProblem> parse_eptp(std::uint64_t eptp, const EptpCapabilities& capabilities) {
    constexpr std::uint64_t uncacheable = 0, write_back = 6;
    const std::uint64_t type = eptp & 7;
    const bool type_ok =
        (type == uncacheable && capabilities.uncacheable) || (type == write_back && capabilities.write_back);
    if (!type_ok) return std::unexpected{EptpProblem::memory_type};
    const std::uint64_t levels = (eptp >> 3 & 7) + 1;
    if (levels != 4 && !(levels == 5 && capabilities.levels_5)) return std::unexpected{EptpProblem::walk_length};
    const bool accessed_dirty = (eptp >> 6 & 1) != 0;
    if (accessed_dirty && !capabilities.accessed_dirty) return std::unexpected{EptpProblem::accessed_dirty};
    const std::uint64_t reserved = ept_entry::bits(7, 11) | ept_entry::bits(capabilities.physical_bits, 63);
    if ((eptp & reserved) != 0) return std::unexpected{EptpProblem::reserved_bits};
    return Eptp{EptAddress{eptp & ept_entry::address}, static_cast<Level>(levels), accessed_dirty};
}

}  // namespace penumbra::mmu
