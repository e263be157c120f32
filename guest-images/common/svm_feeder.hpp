// Keeps the device's ring full of work in the processes' addresses, and judges what comes back.
#pragma once

#include <cstdint>

#include "guest-images/common/rng.hpp"
#include "guest-images/common/svm_ring.hpp"

namespace penumbra::guest {

/// For vCPU 0.
template <class Platform>
class SvmFeeder {
public:
    SvmFeeder(SvmShared<Platform>& shared, SvmRing<Platform>& ring, std::uint64_t seed)
        : shared_(shared),
          world_(shared.world()),
          ring_(ring),
          random_(seed),
          depth_(svm_ring_entries - svm_ring_entries / 8) {}

    /// One turn: takes results in, tops the ring up. False: no more changes will come, and all is done.
    bool step() {
        if (world_.dead != 0) return false;
        collect();
        bool posted = post_announcements();
        if (svm_load(world_.changes_done) == 0) {
            if (ring_.in_flight() <= depth_ - most_in_turn) {
                const std::uint64_t waiting = world_.submitted - ring_.in_hand();
                if (waiting == 0 && world_.submitted != 0) ++world_.counts.empty;
                thin_ = waiting < depth_ / 2;
                while (ring_.in_flight() < depth_) submit_any();
                posted = true;
            }
        } else if (ring_.in_flight() == 0) {
            return false;
        }
        if (posted) ring_.ring_doorbell();
        shared_.platform().relax();
        return watch_over();
    }

private:
    static constexpr std::uint64_t most_in_turn = 128;  ///< results taken in before the ring is topped up
    static constexpr std::uint64_t ballast_share = 16;  ///< one command in so many takes long
    static constexpr std::uint64_t thin_share = 3;      ///< the same while the ring runs low
    static constexpr std::uint64_t spins_per_look = 1 << 14;
    static constexpr std::uint64_t idle_limit = 1 << 16;  ///< looks at an unmoved head before the device counts as dead

    // ---- work ----

    void submit_any() {
        const auto process =
            static_cast<std::uint32_t>(random_.below(4) == 0 ? random_.below(svm_processes) : hot_process());
        if (world_.submitted % (thin_ ? thin_share : ballast_share) == 0) return submit_ballast(process);
        const std::uint64_t kind = random_.below(8);
        if (kind == 0) return submit_fill(process);
        if (kind == 1) return submit_copy(process);
        submit_sum(process);
    }
    /// Most of the work is one process's for a while.
    [[nodiscard]] std::uint64_t hot_process() const { return world_.submitted / 2048 % svm_processes; }

    /// Work that takes the device long and nobody else: a sum over all landings, again and again, whatever they hold.
    void submit_ballast(std::uint32_t process) {
        submit(abi::AccelOpcode::crc32c, {process, svm_pages, svm_landing_rounds * svm_landings * svm_landing_pages},
               svm_landing_address(svm_forms[process], 0), 0);
    }
    void submit_sum(std::uint32_t process) {
        const auto [first, pages] = pick_inner(svm_longest_sum);
        submit(abi::AccelOpcode::crc32c, {process, first, pages}, svm_address(svm_forms[process], first), 0);
    }
    void submit_copy(std::uint32_t process) {
        const std::uint64_t landing = copies_ % svm_landings;
        if ((landings_busy_ >> landing & 1) != 0) return submit_sum(process);
        ++copies_;
        landings_busy_ |= std::uint64_t{1} << landing;
        const auto [first, pages] = pick_inner(svm_landing_pages);
        for (std::uint64_t i = 0; i < pages; ++i) {
            *reinterpret_cast<volatile std::uint64_t*>(landing_page(landing) + i * page_bytes) = 0;
        }
        submit(abi::AccelOpcode::copy, {process, first, pages, static_cast<std::uint32_t>(landing)},
               svm_address(svm_forms[process], first), svm_landing_address(svm_forms[process], landing));
    }
    void submit_fill(std::uint32_t process) {
        const auto pages = static_cast<std::uint32_t>(1 + random_.below(svm_outer));
        auto first = static_cast<std::uint32_t>(random_.below(svm_outer - pages + 1));
        if (random_.below(2) == 0) first += svm_pages - svm_outer;
        const auto number = static_cast<std::uint32_t>(world_.submitted);
        const SvmTag pattern{SvmKind::fill, SvmFillOwner{process, first, pages}.packed(), number};
        submit(abi::AccelOpcode::fill, {process, first, pages}, pattern.word(), svm_address(svm_forms[process], first));
    }

    struct Range {
        std::uint32_t first;
        std::uint32_t pages;
    };
    struct Work {
        std::uint32_t process;
        std::uint32_t first;
        std::uint32_t pages;
        std::uint32_t landing = 0;
    };
    [[nodiscard]] Range pick_inner(std::uint32_t longest) {
        const auto pages = static_cast<std::uint32_t>(1 + random_.below(longest));
        constexpr std::uint32_t inner = svm_pages - 2 * svm_outer;
        return {svm_outer + static_cast<std::uint32_t>(random_.below(inner - pages + 1)), pages};
    }
    void submit(abi::AccelOpcode opcode, const Work& work, std::uint64_t source, std::uint64_t target) {
        const bool works = opcode != abi::AccelOpcode::invalidate;
        const abi::AccelCommand command{static_cast<std::uint32_t>(opcode),
                                        0,
                                        source,
                                        target,
                                        work.pages * page_bytes,
                                        0,
                                        works ? static_cast<std::uint32_t>(abi::AccelFlag::virtual_addresses) : 0,
                                        svm_forms[work.process].pasid,
                                        {}};
        ring_.submit(command, {opcode, work.process, work.first, work.pages, work.landing, 0});
    }
    [[nodiscard]] bool post_announcements() {
        SvmMailbox& box = world_.mailbox;
        const std::uint64_t asked = svm_load(box.asked);
        if (asked == box.posted) return false;
        for (std::uint32_t i = 0; i < box.count; ++i) {
            const SvmAnnouncement& of = box.list[i];
            box.number = world_.submitted;
            submit(abi::AccelOpcode::invalidate, {of.process, of.first, of.pages},
                   svm_address(svm_forms[of.process], of.first), 0);
        }
        svm_store(box.posted, asked);
        return true;
    }

    // ---- results ----

    void collect() {
        for (std::uint64_t turn = 0; turn < most_in_turn && ring_.in_flight() != 0; ++turn) {
            const std::uint64_t number = world_.collected;
            if (ring_.result(number) == abi::AccelResult::pending) return;
            judge(number, world_.command(number), ring_.result(number), ring_.value(number));
            svm_store(world_.collected, number + 1);
            idle_ = spins_ = 0;
        }
    }
    void judge(std::uint64_t number, const SvmCommand& command, abi::AccelResult result, std::uint64_t value) {
        if (command.opcode == abi::AccelOpcode::copy) landings_busy_ &= ~(std::uint64_t{1} << command.landing);
        if (!command.works()) {
            if (result != abi::AccelResult::done) complain(number, "result", static_cast<std::uint64_t>(result), 1);
            return;
        }
        ++world_.counts.commands;
        if (const std::uint64_t failed = svm_load(command.failed); failed != 0) {
            ++world_.counts.faulted;
            if (result != abi::AccelResult::page_fault || value != failed - 1) {
                complain(number, "refused address", value, failed - 1);
            }
            return;
        }
        if (result != abi::AccelResult::done) return complain(number, "result", static_cast<std::uint64_t>(result), 1);
        world_.counts.bytes += command.pages * page_bytes;
        if (command.is_ballast()) return;
        if (command.opcode == abi::AccelOpcode::fill) return put_down_fill(number, command);
        if (command.opcode == abi::AccelOpcode::copy) {
            value = crc32c(landing_page(command.landing), command.pages * page_bytes);
        }
        ++world_.counts.sums;
        if (!may_be(number, command, static_cast<std::uint32_t>(value))) {
            complain(number, "sum", value, newest_sum(command));
        }
    }
    void put_down_fill(std::uint64_t number, const SvmCommand& command) {
        for (std::uint32_t i = 0; i < command.pages; ++i) {
            svm_store(world_.processes[command.process].log[command.first + i].last_fill, number + 1);
        }
    }
    /// Whether a sum can come about, each page being one that the command may have seen.
    [[nodiscard]] bool may_be(std::uint64_t number, const SvmCommand& command, std::uint32_t sum) {
        SvmChoices& choices = world_.choices;
        for (std::uint32_t i = 0; i < command.pages; ++i) {
            choices.begin(i);
            (void)world_.processes[command.process].log[command.first + i].any_for(number, [&](const SvmVersion& seen) {
                if (svm_permits(seen.rights, SvmAccess::read)) choices.add(i, static_cast<std::uint32_t>(seen.raw));
                return false;
            });
            if (choices.count[i] == 0) return false;
        }
        return choices.can_give(command.pages, sum);
    }
    [[nodiscard]] std::uint64_t newest_sum(const SvmCommand& command) {
        std::uint32_t chain = svm_sum_start;
        for (std::uint32_t i = 0; i < command.pages; ++i) {
            SvmPageLog& log = world_.processes[command.process].log[command.first + i];
            chain = svm_sum_with(chain, static_cast<std::uint32_t>(log.newest().raw));
        }
        return static_cast<std::uint32_t>(~chain);
    }
    void complain(std::uint64_t number, const char* what, std::uint64_t found, std::uint64_t expected) {
        const SvmCommand& command = world_.command(number);
        const std::uint64_t slot = shared_.layout().ring() + number % svm_ring_entries * sizeof(abi::AccelCommand);
        shared_.complain(slot, [&](TextLine& line) {
            constexpr const char* names[] = {"nop", "copy", "fill", "crc32c", "invalidate"};
            line.text(names[static_cast<unsigned>(command.opcode)]).text(" number ").number(number);
            line.text(" of PASID ").number(svm_forms[command.process].pasid);
            line.text(" pages ").number(command.first).text(" + ").number(command.pages).text(": ");
            line.text(what).text(" ").hex(found).text(", expected ").hex(expected);
        });
    }

    /// False: the device is dead, which counts as a mismatch.
    [[nodiscard]] bool watch_over() {
        if (++spins_ < spins_per_look) return true;
        spins_ = 0;
        if (++idle_ < idle_limit && (idle_ % 64 != 0 || ring_.healthy())) return true;
        shared_.complain(shared_.layout().ring(), [&](TextLine& line) {
            line.text("accelerator gave no answer to ").number(ring_.in_flight()).text(" commands");
        });
        svm_store(world_.dead, 1);
        return false;
    }
    [[nodiscard]] std::uint8_t* landing_page(std::uint64_t landing) {
        return shared_.platform().ram(shared_.layout().landing(landing));
    }

    SvmShared<Platform>& shared_;
    SvmWorld& world_;
    SvmRing<Platform>& ring_;
    Random random_;
    std::uint64_t depth_;
    bool thin_ = true;  ///< the ring is half empty
    std::uint64_t copies_ = 0;
    std::uint64_t landings_busy_ = 0;
    std::uint64_t spins_ = 0;
    std::uint64_t idle_ = 0;
};

}  // namespace penumbra::guest
