// Chooses changes, most of them where the device is at work, makes announcements where they are due, and answers page
// requests.
#pragma once

#include <cstdint>

#include "guest-images/common/svm_feeder.hpp"
#include "guest-images/common/svm_filler.hpp"
#include "guest-images/common/svm_requests.hpp"

namespace penumbra::guest {

/// For one vCPU, which may be the feeder's.
template <class Platform>
class SvmChanger {
public:
    /// `feeder` is null where another vCPU runs it.
    SvmChanger(SvmShared<Platform>& shared, SvmRing<Platform>& ring, SvmFiller<Platform>& filler,
               SvmFeeder<Platform>* feeder, std::uint64_t seed)
        : shared_(shared),
          world_(shared.world()),
          ring_(ring),
          filler_(filler),
          feeder_(feeder),
          tables_(shared, mix(seed, 1)),
          changes_(shared, tables_, ring),
          requests_(shared, ring, changes_, mix(seed, 2)),
          random_(mix(seed, 3)) {}

    void build() { tables_.build(); }
    void check_all() { changes_.check_all(); }

    /// One turn. False: no more changes will come.
    bool step() {
        requests_.poll();
        if (svm_load(world_.dead) != 0) return finish();
        const bool seen_enough = svm_load(world_.mismatches) >= SvmShared<Platform>::complaint_limit;
        if (seen_enough || world_.counts.changes() >= shared_.boot().svm_changes || wants_to_finish()) return finish();
        if (may_go_on()) change();
        if (changes_.open() != 0 && changes_.open() >= batch_) announce();
        shared_.platform().relax();
        return true;
    }
    /// Requests still come while the device finishes.
    void poll() { requests_.poll(); }

private:
    static constexpr std::uint64_t changes_per_command = 4;
    static constexpr std::uint64_t most_ahead = 256;
    static constexpr std::uint64_t most_in_batch = 96;
    static constexpr std::uint64_t changes_per_touch = 4;
    static constexpr std::uint64_t steps_per_look = 1 << 12;

    [[nodiscard]] bool wants_to_finish() { return ++steps_ % steps_per_look == 0 && shared_.wants_to_finish(); }

    /// The device keeps pace, or most changes would be made behind its back.
    [[nodiscard]] bool may_go_on() {
        const std::uint64_t collected = svm_load(world_.collected);
        ahead_ += (collected - seen_) * changes_per_command;
        if (ahead_ > most_ahead) ahead_ = most_ahead;
        seen_ = collected;
        if (ahead_ == 0) return false;
        --ahead_;
        return true;
    }

    /// Gives back what was taken, so that the device can finish.
    bool finish() {
        close();
        while (requests_.any()) {
            if (requests_.may_restore()) {
                requests_.restore_oldest();
            } else if (!wait()) {
                break;
            }
        }
        svm_store(world_.changes_done, 1);
        return false;
    }

    void change() {
        if (world_.counts.changes() >= next_touch_) {
            filler_.touch();
            next_touch_ += changes_per_touch;
        }
        if (!changes_.has_room()) return close();
        const SvmPlace at = pick();
        const std::uint64_t kind = random_.below(64);
        if (kind == 0) return switch_root(at.process);
        if (kind < 10) return rewrite(at);
        if (kind < 22) return drop(at);
        if (kind < 30) return restore();
        if (changes_.possible(at)) changes_.remap(at, static_cast<std::uint32_t>(random_.below(world_.spares)));
    }
    void switch_root(std::uint32_t process) {
        close();
        if (changes_.possible_switch(process)) changes_.switch_root(process);
    }
    void rewrite(SvmPlace at) {
        at.level = static_cast<std::uint32_t>(2 + random_.below(at.form().border_level - 1));
        // Both roots have an entry of their own for tables that they share.
        if (at.level == at.form().border_level && svm_shared(at.process, at.half())) return;
        if (changes_.possible_rewrite(at)) changes_.rewrite(at);
    }
    void drop(SvmPlace at) {
        // The landings are in half 1: only entries of single pages lose rights there.
        if (at.half() == 0 && random_.below(4) == 0) {
            at.level = static_cast<std::uint32_t>(2 + random_.below(at.form().border_level - 1));
        }
        if (requests_.may_drop(at) && changes_.possible(at)) requests_.drop(at);
    }
    void restore() {
        if (requests_.any() && requests_.may_restore()) requests_.restore_oldest();
    }

    /// Where the device is at work, mostly; a leaf entry.
    [[nodiscard]] SvmPlace pick() {
        const std::uint64_t number = ring_.in_hand();
        const SvmCommand& command = world_.command(number);
        SvmPlace at{static_cast<std::uint32_t>(random_.below(svm_processes)), 0,
                    static_cast<std::uint32_t>(random_.below(svm_pages)), 1};
        const bool at_work = number < svm_load(world_.submitted) && command.works() && !command.is_ballast();
        if (at_work && random_.below(4) != 0) {
            at.process = command.process;
            at.page = command.first + static_cast<std::uint32_t>(random_.below(command.pages));
        }
        const std::uint32_t active = world_.processes[at.process].active;
        at.root = random_.below(8) == 0 ? 1 - active : active;
        return at;
    }

    // ---- announcements ----

    void close() {
        if (changes_.open() != 0) announce();
    }
    /// Tells the device of the open changes, and waits until it is done with what they replaced.
    void announce() {
        SvmMailbox& box = world_.mailbox;
        box.count = changes_.announcements(box.list);
        svm_store(box.asked, box.asked + 1);
        svm_store(world_.counts.announced, world_.counts.announced + box.count);
        while (svm_load(box.posted) != box.asked && wait()) {
        }
        const std::uint64_t number = box.number;
        while (ring_.in_hand() <= number && wait()) {
        }
        changes_.close(number);
        batch_ = 1 + random_.below(most_in_batch);
    }
    /// A turn of a wait for the device. False: it is dead.
    [[nodiscard]] bool wait() {
        requests_.poll();
        if (feeder_ != nullptr) {
            feeder_->step();
        } else {
            shared_.platform().relax();
        }
        return svm_load(world_.dead) == 0;
    }

    SvmShared<Platform>& shared_;
    SvmWorld& world_;
    SvmRing<Platform>& ring_;
    SvmFiller<Platform>& filler_;
    SvmFeeder<Platform>* feeder_;
    SvmTables<Platform> tables_;
    SvmChanges<Platform> changes_;
    SvmRequests<Platform> requests_;
    Random random_;
    std::uint64_t batch_ = 1;
    std::uint64_t next_touch_ = 0;
    std::uint64_t ahead_ = most_ahead;  ///< tries that are left until more commands are done
    std::uint64_t seen_ = 0;
    std::uint64_t steps_ = 0;
};

}  // namespace penumbra::guest
