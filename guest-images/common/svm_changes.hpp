// One change of a process's tables or root: the record first, then the store, under whatever the device does. In watch
// mode nobody is told; otherwise the change counts once its announcement is done.
#pragma once

#include <cstdint>

#include "guest-images/common/svm_retire.hpp"
#include "guest-images/common/svm_ring.hpp"

namespace penumbra::guest {

/// For the vCPU that changes tables.
template <class Platform>
class SvmChanges {
public:
    SvmChanges(SvmShared<Platform>& shared, SvmTables<Platform>& tables, SvmRing<Platform>& ring)
        : shared_(shared), world_(shared.world()), tables_(tables), ring_(ring), retirement_(shared, tables) {}

    /// Whether a change there can be followed now; if not, the device has to get on first.
    [[nodiscard]] bool possible(const SvmPlace& at) { return possible(at, at.first(), at.pages()); }
    [[nodiscard]] bool possible_switch(std::uint32_t process) {
        return is_over_switch(process) && possible({process, world_.processes[process].active, 0, 1}, 0, svm_pages);
    }

    /// The other root is one that no command works by any more.
    [[nodiscard]] bool is_over_switch(std::uint32_t process) {
        return ring_.in_hand() >= world_.processes[process].switched;
    }

    /// Maps another data page, number `spare` of those that no table names.
    void remap(const SvmPlace& at, std::uint32_t spare) {
        SvmSlot& slot = svm_chain(world_.processes, at).slot(at.page);
        const SvmSlot old = slot;
        slot = {world_.spare[spare], old.rights, svm_never, svm_never, 0};
        world_.spare[spare] = world_.spare[--world_.spares];
        const Stored stored = store(at, world_.counts.remaps, [&] { return tables_.leaf_value(old); });
        retirement_.add({old, at.process, at.page, stored.left(), true});
        conclude(at, stored, announces(), 1);
    }

    /// Takes rights from the entry, or gives all of them back.
    void set_rights(const SvmPlace& at, std::uint64_t rights) {
        const std::uint64_t old = tables_.value(at);
        SvmChain& chain = svm_chain(world_.processes, at);
        if (at.level == 1) {
            chain.slot(at.page).rights = static_cast<std::uint32_t>(rights);
        } else {
            chain.rights[at.level] = static_cast<std::uint32_t>(rights);
        }
        const Stored stored = store(at, world_.counts.permissions, [&] { return old; });
        // What was not permitted is in no TLB: that it is now needs no announcement.
        const bool gives = rights == svm_all_rights;
        conclude(at, stored, !gives && announces(), 0);
    }
    /// Gives the rights of an entry back that lies in a leaf table out of use.
    void restore_unused(const SvmPlace& at, std::uint32_t which) {
        SvmSlot& slot = svm_chain(world_.processes, at).slots[which][at.page % svm_half_pages];
        tables_.check(tables_.leaf_entry(at, which), tables_.leaf_value(slot));
        slot.rights = svm_all_rights;
        tables_.store(tables_.leaf_entry(at, which), tables_.leaf_value(slot));
        count(world_.counts.permissions);
    }

    /// Makes the entry, of a level above 1, lead to the other table, and all below it.
    void rewrite(const SvmPlace& at) {
        SvmChain& chain = svm_chain(world_.processes, at);
        const std::uint64_t old = tables_.link_value(at);
        const std::uint32_t old_leaf = chain.used[1];
        for (std::uint32_t level = 1; level < at.level; ++level) chain.used[level] ^= 1;
        for (std::uint32_t level = 2; level <= at.level; ++level) chain.rights[level] = svm_all_rights;
        for (std::uint32_t level = 2; level < at.level; ++level) {
            const SvmPlace below{at.process, at.root, at.page, level};
            tables_.store(svm_entry(world_.processes, below), tables_.link_value(below));
        }
        const Stored stored = store(at, world_.counts.rewrites, [&] { return old; });
        for (std::uint32_t i = 0; i < svm_half_pages; ++i) {
            SvmSlot& slot = chain.slots[old_leaf][i];
            retirement_.add({slot, at.process, at.first() + i, stored.left(), false});
            slot = {slot.page, slot.rights, svm_never, svm_never, 0};
        }
        conclude(at, stored, announces(), svm_half_pages);
        chain.swapping = is_open(at.process) ? 1 : 0;
    }
    /// Whether the tables that are not in use are the guest's.
    [[nodiscard]] bool possible_rewrite(const SvmPlace& at) {
        return svm_chain(world_.processes, at).swapping == 0 && possible(at);
    }

    /// Gives a process its other root. No change may be open.
    void switch_root(std::uint32_t number) {
        SvmProcess& process = world_.processes[number];
        const std::uint32_t left = process.active;
        renew_other_root(number);
        const std::uint64_t before = ring_.in_hand();
        process.active = 1 - left;
        tables_.note(number, 0, svm_pages, before);
        for_own_slots(number, process.active,
                      [&](SvmSlot& slot, std::uint32_t) { slot = {slot.page, slot.rights, before, svm_never, 0}; });
        const bool covered = world_.command(before).covers(number, 0, svm_pages) && before < svm_load(world_.submitted);
        tables_.check_root(number, left);
        tables_.store_root(number);
        const std::uint64_t after = ring_.in_hand();
        for_own_slots(number, left, [&](SvmSlot& slot, std::uint32_t page) {
            slot.must_hold = retirement_.must_hold({slot, number, page, before, false});
        });
        process.switched = after + 1;
        count(world_.counts.switches);
        if (covered && after == before) count(world_.counts.in_use);
        settle(number, after);
    }

    /// How many changes wait for an announcement.
    [[nodiscard]] std::uint32_t open() const { return open_; }
    [[nodiscard]] bool is_open(std::uint32_t process) const { return open_in_[process] != 0; }
    /// Writes down the announcements of what is open; returns how many.
    [[nodiscard]] std::uint32_t announcements(SvmAnnouncement* list) const {
        std::uint32_t count = 0;
        for (std::uint32_t process = 0; process < svm_processes; ++process) {
            if (!is_open(process)) continue;
            const SvmPlace& last = open_at_[process];
            const bool single = open_in_[process] == 1;
            list[count++] = {process, single ? last.first() : 0, single ? last.pages() : 0};
        }
        return count;
    }
    /// Commands above `last` see all that was stored.
    void close(std::uint64_t last) {
        for (std::uint32_t process = 0; process < svm_processes; ++process) {
            if (!is_open(process)) continue;
            settle(process, last);
            open_in_[process] = 0;
            for (auto& of_root : world_.processes[process].chains) {
                for (SvmChain& chain : of_root) chain.swapping = 0;
            }
        }
        retirement_.settle(0, last);
        open_ = 0;
    }
    [[nodiscard]] bool has_room() const { return retirement_.has_room(); }
    /// Where the device may stop watching, of any table and at any time (PasidFlag::announces).
    [[nodiscard]] bool announces() { return shared_.mode() != abi::SvmMode::watch; }

    /// Looks at every data page that a table names or may have named.
    void check_all() {
        for (std::uint32_t number = 0; number < svm_processes; ++number) {
            const SvmProcess& process = world_.processes[number];
            for (std::uint32_t page = 0; page < svm_pages; ++page) {
                for (std::uint32_t root = 0; root < svm_roots; ++root) {
                    for (std::uint32_t which = 0; which < 2; ++which) check(number, root, page, which);
                }
            }
            tables_.check_root(number, process.active);
        }
        for (std::uint32_t i = 0; i < world_.spares; ++i) {
            retirement_.check({{world_.spare[i], 0, svm_never, 0, 0}, 0, 0, 0, true}, 0);
        }
    }

private:
    /// One of its own, and those of giving back what an entry above and the entry itself may lack.
    static constexpr std::uint64_t versions_of_change = 3;

    struct Stored {
        std::uint64_t before;  ///< the command in hand
        std::uint64_t after;
        bool active;

        /// For pages that left: of a root out of use, what they must hold was put down when it was left.
        [[nodiscard]] std::uint64_t left() const { return active ? before : 0; }
    };

    static void count(std::uint64_t& counter) { svm_store(counter, counter + 1); }

    [[nodiscard]] bool possible(const SvmPlace& at, std::uint32_t first, std::uint32_t pages) {
        if (!svm_is_active(world_.processes, at)) return is_over_switch(at.process);
        const std::uint64_t collected = svm_load(world_.collected);
        for (std::uint32_t page = first; page < first + pages; ++page) {
            if (!world_.processes[at.process].log[page].has_room(versions_of_change, collected)) return false;
        }
        return true;
    }

    /// Stores what the record says, which says it already. `old()` is what the entry holds until then.
    template <class Old>
    [[nodiscard]] Stored store(const SvmPlace& at, std::uint64_t& kind, Old&& old) {
        const bool active = svm_is_active(world_.processes, at);
        const std::uint64_t entry = svm_entry(world_.processes, at);
        tables_.check(entry, old());
        const std::uint64_t before = ring_.in_hand();
        if (active) note(at, before);
        const bool covered = active && before < svm_load(world_.submitted) &&
                             world_.command(before).covers(at.process, at.first(), at.pages());
        tables_.store(entry, tables_.value(at));
        const std::uint64_t after = ring_.in_hand();
        if (active) note_over(at, before, after);
        count(kind);
        if (covered && after == before) count(world_.counts.in_use);
        return {before, after, active};
    }
    void note(const SvmPlace& at, std::uint64_t before) {
        tables_.note(at.process, at.first(), at.pages(), before);
        SvmChain& chain = svm_chain(world_.processes, at);
        for (std::uint32_t page = at.first(); page < at.first() + at.pages(); ++page) {
            SvmSlot& slot = chain.slot(page);
            if (slot.first_here == svm_never) slot = {slot.page, slot.rights, before, svm_never, 0};
        }
    }
    /// `retired` pages went, the last of those that wait.
    void note_over(const SvmPlace& at, std::uint64_t before, std::uint64_t after) {
        for (std::uint32_t page = at.first(); page < at.first() + at.pages(); ++page) {
            SvmVersion& made = world_.processes[at.process].log[page].newest();
            if (made.first_new == before) made.over = after;
        }
    }
    void conclude(const SvmPlace& at, const Stored& stored, bool announce, std::uint32_t retired) {
        const std::uint32_t own = world_.retirees - retired;
        if (!stored.active) {
            retirement_.settle(own, world_.processes[at.process].switched - 1);
        } else if (announce) {
            ++open_;
            ++open_in_[at.process];
            open_at_[at.process] = at;
        } else if (!is_open(at.process)) {
            settle(at.process, stored.after);
            retirement_.settle(own, stored.after);
        }
    }
    void settle(std::uint32_t number, std::uint64_t last) {
        SvmProcess& process = world_.processes[number];
        for (std::uint32_t page = 0; page < svm_pages; ++page) {
            process.log[page].settle(last);
            SvmSlot& slot = svm_chain(process, number, process.active, svm_half(page)).slot(page);
            if (slot.first_here != svm_never && slot.last_before == svm_never) slot.last_before = last;
        }
    }

    /// Calls fn(slot, page) for what a root maps by tables that it does not share.
    template <class Fn>
    void for_own_slots(std::uint32_t number, std::uint32_t root, Fn&& fn) {
        for (std::uint32_t page = 0; page < svm_pages; ++page) {
            if (svm_shared(number, svm_half(page))) continue;
            fn(svm_chain(world_.processes[number], number, root, svm_half(page)).slot(page), page);
        }
    }
    void renew_other_root(std::uint32_t number) {
        const SvmProcess& process = world_.processes[number];
        for_own_slots(number, 1 - process.active, [&](SvmSlot& slot, std::uint32_t page) {
            retirement_.renew({slot, number, page, 0, false}, process.switched - 1);
            slot = {slot.page, slot.rights, svm_never, svm_never, 0};
        });
    }
    void check(std::uint32_t number, std::uint32_t root, std::uint32_t page, std::uint32_t which) {
        if (root != 0 && svm_shared(number, svm_half(page))) return;
        SvmChain& chain = svm_chain(world_.processes[number], number, root, svm_half(page));
        SvmSlot slot = chain.slots[which][page % svm_half_pages];
        const SvmPlace at{number, root, page, 1};
        tables_.check(tables_.leaf_entry(at, which), tables_.leaf_value(slot));
        if (svm_is_active(world_.processes, at) && chain.used[1] == which) {
            slot.must_hold = retirement_.must_hold({slot, number, page, svm_never, false});
        }
        retirement_.check({slot, number, page, svm_never, false}, svm_never);
    }

    SvmShared<Platform>& shared_;
    SvmWorld& world_;
    SvmTables<Platform>& tables_;
    SvmRing<Platform>& ring_;
    SvmRetirement<Platform> retirement_;
    std::uint32_t open_ = 0;
    std::uint32_t open_in_[svm_processes] = {};  ///< by process
    SvmPlace open_at_[svm_processes] = {};       ///< the last
};

}  // namespace penumbra::guest
