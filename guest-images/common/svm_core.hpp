// The svm workload: the accelerator works in the addresses of several processes, its ring never empty, while a vCPU
// remaps pages, takes and gives rights, swaps tables and switches roots under it. Every sum must be one that the
// mappings of its time allow, every page must hold what somebody was allowed to write, and a page that no translation
// names any more gets new contents at once. It runs wherever a Platform stands for the machine, which has, besides what
// churn_core.hpp lists,
//     void store_entry(std::uint64_t gpa, std::uint64_t value)   stores a page-table or PASID-table entry
#pragma once

#include <cstdint>

#include "guest-images/common/svm_changer.hpp"

namespace penumbra::guest {

/// What vCPU 0 writes to Port::exit.
enum class SvmStatus : std::uint64_t { right = 0, mismatches = 1, setup_error = 2 };

/// vCPU 0 feeds the device; vCPU 1, or 0 where it is alone, changes tables; all look after the filler.
template <class Platform>
class Svm {
public:
    Svm(Platform& platform, const abi::BootInfo& boot, const SvmLayout& layout)
        : shared_(platform, boot, layout),
          world_(shared_.world()),
          ring_(shared_),
          filler_(shared_, mix(boot.seed, 16 + platform.cpu())),
          feeder_(shared_, ring_, mix(boot.seed, 1)),
          changer_(shared_, ring_, filler_, boot.cpus == 1 ? &feeder_ : nullptr, boot.seed),
          feeds_(platform.cpu() == 0),
          changes_(platform.cpu() == (boot.cpus == 1 ? 0 : 1)) {}

    SvmStatus run() {
        set_up();
        shared_.barrier();
        if (svm_load(world_.setup_failed) != 0) return SvmStatus::setup_error;
        say("fill");
        filler_.fill();
        shared_.barrier();
        say("changes");
        work();
        shared_.barrier();
        say("final verification");
        filler_.verify_all();
        if (feeds_) verify();
        shared_.barrier();
        if (feeds_) {
            say_counts();
            shared_.publish(1);
        }
        return svm_load(world_.mismatches) == 0 ? SvmStatus::right : SvmStatus::mismatches;
    }

private:
    static constexpr std::uint64_t turns_per_report = 1 << 15;

    void set_up() {
        if (!feeds_) return;
        changer_.build();
        if (shared_.boot().has_accelerator != 0 && ring_.enable()) return;
        shared_.line().text("the svm image needs the accelerator (--accel)");
        shared_.say();
        svm_store(world_.setup_failed, 1);
    }
    void work() {
        if (feeds_ && changes_) return work_alone();
        if (feeds_) {
            for (std::uint64_t turn = 1; feeder_.step(); ++turn) {
                if (turn % turns_per_report == 0) shared_.publish(0);
            }
            svm_store(world_.fed, 1);
        } else if (changes_) {
            while (changer_.step()) {
            }
            while (svm_load(world_.fed) == 0) {
                changer_.poll();
                shared_.platform().relax();
            }
        } else {
            while (svm_load(world_.fed) == 0) filler_.touch();
        }
    }
    void work_alone() {
        while (changer_.step() && feeder_.step()) {
        }
        while (feeder_.step()) changer_.poll();
    }
    void verify() {
        ring_.disable();
        changer_.check_all();
    }

    void say(const char* what) {
        if (!feeds_) return;
        shared_.line().text(what);
        shared_.say();
        shared_.publish(0);
    }
    void say_counts() {
        const SvmCounts& counts = world_.counts;
        TextLine line = shared_.line();
        line.number(counts.changes()).text(" changes: ").number(counts.remaps).text(" remaps, ");
        line.number(counts.permissions).text(" of rights, ").number(counts.rewrites).text(" of tables, ");
        line.number(counts.switches).text(" of roots; ").number(counts.in_use).text(" in use");
        shared_.say();
        TextLine more = shared_.line();
        more.number(counts.commands).text(" commands, ").number(counts.bytes >> 20).text(" MiB, ");
        more.number(counts.sums).text(" sums, ").number(counts.data_verified).text(" pages looked at; ");
        more.number(counts.restored).text(" page requests served, ").number(counts.refused).text(" refused; ");
        more.number(counts.announced).text(" announcements; empty ").number(counts.empty).text(" times");
        shared_.say();
    }

    SvmShared<Platform> shared_;
    SvmWorld& world_;
    SvmRing<Platform> ring_;
    SvmFiller<Platform> filler_;
    SvmFeeder<Platform> feeder_;
    SvmChanger<Platform> changer_;
    bool feeds_;
    bool changes_;
};

/// Called by every vCPU; returns on each when all are done, with the same answer.
template <class Platform>
SvmStatus run_svm(Platform& platform, const abi::BootInfo& boot) {
    const SvmLayout layout(boot, sizeof(SvmWorld));
    if (boot.magic != abi::boot_magic || !layout.usable() || platform.cpu() >= boot.cpus) return SvmStatus::setup_error;
    return Svm<Platform>(platform, boot, layout).run();
}

}  // namespace penumbra::guest
