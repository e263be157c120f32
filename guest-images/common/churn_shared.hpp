// What the vCPUs of one churn share: a barrier, the wish to finish early, per-vCPU counts, console and report. All of
// it lies in guest RAM, which starts out zero, and is reached through the Platform.
#pragma once

#include <cstdint>

#include "guest-images/common/churn_layout.hpp"
#include "guest-images/common/text_line.hpp"

namespace penumbra::guest {

struct ChurnControl {
    std::uint64_t arrived;
    std::uint64_t round;
    std::uint64_t finish;        ///< 1: skip to the final verification
    std::uint64_t first_bad;     ///< gpa + 1 of the first wrong page, 0: none
    std::uint64_t complaints;    ///< mismatch lines asked for so far
    std::uint64_t verify_again;  ///< some page was verified less than twice
    std::uint64_t stopped;       ///< `finish` as all vCPUs see it between two barriers
    std::uint64_t setup_failed;
};

/// Written by its vCPU only.
struct alignas(64) ChurnSlot {
    std::uint64_t verified;
    std::uint64_t mismatches;
    std::uint64_t visits;
    std::uint64_t walks;  ///< verifications of all of its pages
    std::uint64_t min_verified;
    std::uint64_t sums;
    std::uint64_t wrong_sums;
};
static_assert(sizeof(ChurnSlot) * abi::max_vcpus == page_bytes);

inline std::uint64_t load_relaxed(const std::uint64_t& word) { return __atomic_load_n(&word, __ATOMIC_RELAXED); }
inline void add_own(std::uint64_t& word, std::uint64_t n = 1) {
    __atomic_store_n(&word, load_relaxed(word) + n, __ATOMIC_RELAXED);
}

template <class Platform>
class ChurnShared {
public:
    static constexpr std::uint64_t complaint_limit = 16;

    ChurnShared(Platform& platform, const ChurnLayout& layout)
        : platform_(platform),
          layout_(layout),
          control_(*reinterpret_cast<ChurnControl*>(platform.ram(layout.control()))),
          slots_(reinterpret_cast<ChurnSlot*>(platform.ram(layout.slots()))) {}

    [[nodiscard]] ChurnSlot& own() { return slots_[platform_.cpu()]; }

    /// Every vCPU waits here for all others.
    void barrier() {
        const std::uint64_t round = __atomic_load_n(&control_.round, __ATOMIC_ACQUIRE);
        if (__atomic_add_fetch(&control_.arrived, 1, __ATOMIC_ACQ_REL) == layout_.cpus()) {
            __atomic_store_n(&control_.arrived, 0, __ATOMIC_RELAXED);
            __atomic_store_n(&control_.round, round + 1, __ATOMIC_RELEASE);
            return;
        }
        while (__atomic_load_n(&control_.round, __ATOMIC_ACQUIRE) == round) platform_.relax();
    }

    [[nodiscard]] bool finishing() const { return load_relaxed(control_.finish) != 0; }
    /// Costs an exit.
    void poll_finish() {
        if (port_read(abi::Port::finish_early) != 0) __atomic_store_n(&control_.finish, 1, __ATOMIC_RELAXED);
    }
    /// Between two barriers, by one vCPU.
    void settle_stop() { __atomic_store_n(&control_.stopped, load_relaxed(control_.finish), __ATOMIC_RELAXED); }
    [[nodiscard]] bool stopped() const { return load_relaxed(control_.stopped) != 0; }
    void fail_setup() { __atomic_store_n(&control_.setup_failed, 1, __ATOMIC_RELAXED); }
    [[nodiscard]] bool setup_failed() const { return load_relaxed(control_.setup_failed) != 0; }
    void ask_to_verify_again() { __atomic_store_n(&control_.verify_again, 1, __ATOMIC_RELAXED); }
    [[nodiscard]] bool verify_again() const { return load_relaxed(control_.verify_again) != 0; }

    /// The vCPU's own line, empty. say() sends it.
    [[nodiscard]] TextLine line() {
        return TextLine(platform_.ram(layout_.line(platform_.cpu())), ChurnLayout::line_bytes);
    }
    void say() { port_write(abi::Port::console, layout_.line(platform_.cpu())); }
    /// True for the first few callers, so that a broken memory does not flood the console.
    [[nodiscard]] bool may_complain() {
        return __atomic_fetch_add(&control_.complaints, 1, __ATOMIC_RELAXED) < complaint_limit;
    }

    void count_mismatch(std::uint64_t gpa) {
        add_own(own().mismatches);
        std::uint64_t none = 0;
        __atomic_compare_exchange_n(&control_.first_bad, &none, gpa + 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    }

    /// Totals of all slots as they are now.
    [[nodiscard]] abi::Report sum(std::uint64_t work_total) const {
        abi::Report report{};
        report.pages_total = layout_.pages();
        report.work_total = work_total;
        report.passes = ~std::uint64_t{0};
        report.min_verifications = ~std::uint64_t{0};
        for (std::uint64_t cpu = 0; cpu < layout_.cpus(); ++cpu) {
            const ChurnSlot& slot = slots_[cpu];
            report.pages_verified += load_relaxed(slot.verified);
            report.mismatches += load_relaxed(slot.mismatches);
            report.work_done += load_relaxed(slot.visits);
            report.accelerator_sums += load_relaxed(slot.sums);
            report.accelerator_mismatches += load_relaxed(slot.wrong_sums);
            report.passes = smaller(report.passes, load_relaxed(slot.walks));
            report.min_verifications = smaller(report.min_verifications, load_relaxed(slot.min_verified));
        }
        const std::uint64_t first_bad = load_relaxed(control_.first_bad);
        report.first_bad_gpa = first_bad == 0 ? 0 : first_bad - 1;
        return report;
    }
    /// Hands the totals to the VMM; vCPU 0 only.
    void publish(std::uint64_t work_total) {
        const abi::Report report = sum(work_total);
        __builtin_memcpy(platform_.ram(layout_.report()), &report, sizeof(report));
        port_write(abi::Port::report, layout_.report());
    }

private:
    static std::uint64_t smaller(std::uint64_t a, std::uint64_t b) { return a < b ? a : b; }
    std::uint64_t port_read(abi::Port port) {
        return platform_.mmio_read(abi::guest_port_base + static_cast<std::uint64_t>(port));
    }
    void port_write(abi::Port port, std::uint64_t value) {
        platform_.mmio_write(abi::guest_port_base + static_cast<std::uint64_t>(port), value);
    }

    Platform& platform_;
    const ChurnLayout& layout_;
    ChurnControl& control_;
    ChurnSlot* slots_;
};

}  // namespace penumbra::guest
