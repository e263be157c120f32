// Data pages that no translation names any more: what they hold must be what somebody was allowed to write, and at once
// they get new contents, so that whoever still reads or writes them through what was is found out.
#pragma once

#include <cstdint>

#include "guest-images/common/svm_tables.hpp"

namespace penumbra::guest {

/// For the vCPU that changes tables.
template <class Platform>
class SvmRetirement {
public:
    SvmRetirement(SvmShared<Platform>& shared, SvmTables<Platform>& tables)
        : shared_(shared), world_(shared.world()), tables_(tables) {}

    [[nodiscard]] bool has_room() const { return world_.retirees + svm_half_pages < svm_most_retired; }
    void add(const SvmRetired& retired) {
        SvmRetired& kept = world_.retired[world_.retirees++];
        kept = retired;
        kept.slot.must_hold = must_hold(retired);
    }
    /// No command above `last` can reach any of them, from the `first` on.
    void settle(std::uint32_t first, std::uint64_t last) {
        for (std::uint32_t i = first; i < world_.retirees; ++i) renew(world_.retired[i], last);
        world_.retirees = first;
    }

    /// The fill whose bytes a page holds at least, as 1 + its number: one that found it there for certain.
    [[nodiscard]] std::uint64_t must_hold(const SvmRetired& retired) {
        const SvmSlot& slot = retired.slot;
        if (slot.first_here == svm_never) return 0;
        const std::uint64_t fill = svm_load(world_.processes[retired.process].log[retired.page].last_fill);
        const bool certain = fill != 0 && fill - 1 > slot.last_before && fill - 1 < retired.left;
        return certain ? fill : slot.must_hold;
    }
    /// Looks at a page, then gives it new contents.
    void renew(const SvmRetired& retired, std::uint64_t last) {
        check(retired, last);
        tables_.write_data(retired.slot.page);
        if (retired.spare) world_.spare[world_.spares++] = retired.slot.page;
    }
    void check(const SvmRetired& retired, std::uint64_t last) {
        const std::uint64_t gpa = shared_.layout().data(retired.slot.page);
        const std::uint8_t* const bytes = shared_.platform().ram(gpa);
        const std::uint64_t found = svm_tag_of(bytes);
        svm_store(world_.counts.data_verified, world_.counts.data_verified + 1);
        if (!may_hold(retired, last, found)) {
            shared_.complain_of("page", gpa, found, tables_.tag_of(retired.slot.page));
        } else if (!svm_page_is(bytes, found)) {
            shared_.complain_of("page not whole", gpa, found, tables_.tag_of(retired.slot.page));
        }
    }

private:
    [[nodiscard]] bool may_hold(const SvmRetired& retired, std::uint64_t last, std::uint64_t found) {
        const SvmSlot& slot = retired.slot;
        if (found == tables_.tag_of(slot.page)) return slot.must_hold == 0;
        const SvmTag tag = SvmTag::of(found);
        if (tag.kind != SvmKind::fill || slot.first_here == svm_never || !svm_is_outer(retired.page)) return false;
        const SvmFillOwner owner = SvmFillOwner::of(tag.owner);
        if (owner.process != retired.process || retired.page - owner.first >= owner.pages) return false;
        return tag.version >= slot.first_here && tag.version <= last &&
               tag.version + std::uint64_t{1} >= slot.must_hold;
    }

    SvmShared<Platform>& shared_;
    SvmWorld& world_;
    SvmTables<Platform>& tables_;
};

}  // namespace penumbra::guest
