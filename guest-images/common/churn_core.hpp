// The churn workload: fill all memory with stamped pages, rewrite it in four orders, verify every page before every
// rewrite and all of them at the end. It runs wherever a Platform stands for the machine: in a guest, or as host
// threads that play vCPUs. A Platform has
//     std::uint8_t* ram(std::uint64_t gpa)                   memory from gpa on, linear within low and within high RAM
//     const std::uint8_t* payload(std::uint64_t page)        4 KiB of real data, page < BootInfo::payload_pages
//     std::uint64_t mmio_read(std::uint64_t gpa)             guest port and accelerator registers
//     void mmio_write(std::uint64_t gpa, std::uint64_t value)
//     unsigned cpu()                                         number of the calling vCPU
//     void relax()                                           one turn of a waiting loop
// with one object per vCPU. RAM is all zero when the first vCPU starts.
#pragma once

#include <cstdint>

#include "guest-images/common/churn_accelerator.hpp"
#include "guest-images/common/churn_order.hpp"
#include "guest-images/common/churn_pages.hpp"
#include "guest-images/common/churn_shared.hpp"

namespace penumbra::guest {

/// What vCPU 0 writes to Port::exit.
enum class ChurnStatus : std::uint64_t { right = 0, mismatches = 1, setup_error = 2 };

template <class Platform>
class Churn {
public:
    Churn(Platform& platform, const abi::BootInfo& boot, const ChurnLayout& layout)
        : boot_(boot),
          layout_(layout),
          shared_(platform, layout),
          pages_(platform, boot, layout, shared_),
          accelerator_(platform, layout, shared_, pages_, mix(boot.seed, 2)),
          cpu_(platform.cpu()),
          owned_(layout.owned(cpu_)),
          touches_(owned_ * boot.rewrites_permille / 1000),
          passes_(boot.passes == 0 ? 1 : boot.passes) {
        const std::uint64_t random_visits = layout.pages() * boot.rewrites_permille / 1000 * 2;
        work_total_ = layout.pages() * 2 + passes_ * (layout.pages() * 2 + random_visits);
        const std::uint64_t fiftieth = work_total_ / layout.cpus() / 50;
        report_interval_ = fiftieth == 0 ? 1 : fiftieth < longest_silence ? fiftieth : longest_silence;
    }

    ChurnStatus run() {
        if (leads() && boot_.has_accelerator != 0 && !accelerator_.enable()) shared_.fail_setup();
        begin_phase("fill");
        if (shared_.setup_failed()) return ChurnStatus::setup_error;
        fill();
        for (std::uint64_t pass = 1; pass <= passes_ && !agree_to_stop(); ++pass) run_pass(pass);
        if (leads()) accelerator_.disable();
        verify_all();
        const abi::Report report = shared_.sum(work_total_);
        return report.mismatches + report.accelerator_mismatches == 0 ? ChurnStatus::right : ChurnStatus::mismatches;
    }

private:
    static constexpr std::uint64_t visits_per_poll = 4096;
    static constexpr std::uint64_t longest_silence = 16384;  ///< visits between two reports, however long the run

    [[nodiscard]] bool leads() const { return cpu_ == 0; }

    /// All vCPUs meet, then vCPU 0 names the phase that starts; `pass` 0: the phase belongs to no pass.
    void begin_phase(const char* name, std::uint64_t pass = 0) {
        shared_.barrier();
        if (!leads() || (pass != 0 && shared_.finishing())) return;
        TextLine line = shared_.line();
        if (pass != 0) line.text("pass ").number(pass).text("/").number(passes_).text(" ");
        line.text(name);
        shared_.say();
        shared_.publish(work_total_);
    }
    /// The same answer on every vCPU: they must go through the same barriers.
    [[nodiscard]] bool agree_to_stop() {
        shared_.barrier();
        if (leads()) shared_.settle_stop();
        shared_.barrier();
        return shared_.stopped();
    }

    /// After every visit of own page `own`: counts it, and now and then reports or asks the host.
    void count_visit(std::uint64_t own) {
        add_own(shared_.own().visits);
        const std::uint64_t visits = shared_.own().visits;
        if (visits % visits_per_poll == 0 && !shared_.finishing()) shared_.poll_finish();
        if (!leads()) return;
        if (visits % report_interval_ == 0) shared_.publish(work_total_);
        if (filled_) accelerator_.tick(visits, own);
    }

    void fill() {
        for (std::uint64_t own = 0; own < owned_; ++own) {
            pages_.rewrite(layout_.page(cpu_, own));
            count_visit(own);
        }
        filled_ = true;
    }
    /// Verifies and rewrites along `order`; false when the host's wish to finish cut it short.
    template <class Order>
    bool walk(Order order, std::uint64_t visits) {
        for (; visits != 0; --visits) {
            if (shared_.finishing()) return false;
            const std::uint64_t own = order.next();
            const std::uint64_t page = layout_.page(cpu_, own);
            if ((pages_.state(page).flags & page_lent) != 0) accelerator_.await(page);
            pages_.verify(page);
            pages_.rewrite(page);
            count_visit(own);
        }
        return true;
    }
    void run_pass(std::uint64_t pass) {
        begin_phase("sequential", pass);
        if (walk(SequentialOrder(), owned_)) add_own(shared_.own().walks);
        begin_phase("strided", pass);
        if (walk(StridedOrder(owned_), owned_)) add_own(shared_.own().walks);
        const std::uint64_t seed = mix(boot_.seed, pass * abi::max_vcpus + cpu_);
        begin_phase("Zipf", pass);
        walk(ZipfOrder(owned_, seed), touches_);
        begin_phase("uniform", pass);
        walk(UniformOrder(owned_, mix(seed)), touches_);
    }

    /// Reads every page; once more where an early finish left a page with a single verification.
    void verify_all() {
        begin_phase("final verification");
        verify_own();
        shared_.barrier();
        if (shared_.verify_again()) {
            begin_phase("second final verification");
            verify_own();
            shared_.barrier();
        }
        if (leads()) shared_.publish(work_total_);
    }
    void verify_own() {
        std::uint64_t least = 0xFFFF;
        for (std::uint64_t own = 0; own < owned_; ++own) {
            const std::uint64_t page = layout_.page(cpu_, own);
            pages_.verify(page);
            const std::uint64_t verified = pages_.state(page).verified;
            if (verified < least) least = verified;
            count_visit(own);
        }
        add_own(shared_.own().walks);
        __atomic_store_n(&shared_.own().min_verified, least, __ATOMIC_RELAXED);
        if (least < 2) shared_.ask_to_verify_again();
    }

    const abi::BootInfo& boot_;
    const ChurnLayout& layout_;
    ChurnShared<Platform> shared_;
    ChurnPages<Platform> pages_;
    ChurnAccelerator<Platform> accelerator_;
    std::uint64_t cpu_;
    std::uint64_t owned_;
    std::uint64_t touches_;
    std::uint64_t passes_;
    std::uint64_t work_total_ = 0;
    std::uint64_t report_interval_ = 1;
    bool filled_ = false;
};

/// Called by every vCPU; returns on each when all are done, with the same answer.
template <class Platform>
ChurnStatus run_churn(Platform& platform, const abi::BootInfo& boot) {
    const ChurnLayout layout(boot);
    if (boot.magic != abi::boot_magic || !layout.usable() || platform.cpu() >= boot.cpus)
        return ChurnStatus::setup_error;
    return Churn<Platform>(platform, boot, layout).run();
}

}  // namespace penumbra::guest
