#include "vmm/memory/fault_workers.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/assert.hpp"
#include "base/planted.hpp"
#include "shadow-mmu/fault/fault_handler.hpp"

namespace penumbra::vmm {

using bridge::Fault;
using bridge::FaultKind;
using bridge::FaultOrigin;
using mmu::FaultAccess;
using mmu::FaultOutcome;

FaultWorkers::FaultWorkers(bridge::Userfaultfd& uffd, mmu::EptTable& ept, Pager& pager, PagerState& state, Pagemap pagemap,
                           FaultWorkersOptions options)
    : uffd_(uffd), ept_(ept), pager_(pager), state_(state), pagemap_(std::move(pagemap)), options_(std::move(options)),
      source_(uffd), stop_event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), in_hand_(options_.quick) {
    PENUMBRA_ASSERT(static_cast<bool>(stop_event_), "no eventfd");
    for (unsigned i = 0; i < options_.quick; ++i) {
        threads_.emplace_back("fault-" + std::to_string(i), ThreadRole::vmm, [this, i] { run_quick(in_hand_[i]); });
    }
    for (unsigned i = 0; i < options_.slow; ++i) {
        threads_.emplace_back("slow-fault-" + std::to_string(i), ThreadRole::vmm, [this] { run_slow(); });
    }
}

void FaultWorkers::stop() {
    if (stop_.exchange(true, std::memory_order_acq_rel)) return;
    const std::uint64_t one = 1;
    const ssize_t written = ::write(stop_event_.get(), &one, sizeof one);
    PENUMBRA_ASSERT(written == sizeof one, "cannot stop the fault workers");
    {
        const MutexLock lock(mutex_);
        queued_.notify_all();
    }
    threads_.clear();
}

void FaultWorkers::run_quick(std::atomic<pid_t>& in_hand) {
    std::array<Fault, bridge::UserfaultfdSource::batch> buffer;
    while (!stop_.load(std::memory_order_acquire)) {
        const Result<std::span<Fault>> faults = source_.read(buffer);
        if (!faults) {
            options_.on_error(faults.error());
            return;
        }
        if (faults->empty()) {
            (void)uffd_.wait(stop_event_.get());
            continue;
        }
        if (planted(Plant::dead_worker)) {
            options_.on_error(Error{"serve faults on guest memory", "a fault worker ended", 0, "restart the machine"});
            return;
        }
        take(*faults, in_hand);
    }
}

void FaultWorkers::take(std::span<const Fault> faults, std::atomic<pid_t>& in_hand) {
    const auto now = Clock::now();
    // Slow ones go first, so that their I/O runs while the quick ones are served here.
    std::array<Fault, bridge::UserfaultfdSource::batch> slow;
    std::size_t slow_count = 0;
    std::size_t quick_count = 0;
    std::array<const Fault*, bridge::UserfaultfdSource::batch> quick;
    for (const Fault& fault : faults) {
        if (state_.window.contains(fault.page) && pager_.is_slow(fault.page)) {
            slow[slow_count++] = fault;
        } else {
            quick[quick_count++] = &fault;
        }
    }
    if (slow_count > 0) hand_over(std::span{slow.data(), slow_count}, now);
    for (std::size_t i = 0; i < quick_count; ++i) {
        in_hand.store(quick[i]->thread, std::memory_order_seq_cst);
        serve({*quick[i], now});
        in_hand.store(0, std::memory_order_seq_cst);
        options_.on_served(quick[i]->thread);
    }
}

void FaultWorkers::hand_over(std::span<const Fault> faults, Clock::time_point now) {
    const MutexLock lock(mutex_);
    PENUMBRA_ASSERT(queue_.size() + faults.size() <= queue_limit, "more faults in flight than threads can have");
    for (const Fault& fault : faults) {
        queue_.push_back({fault, now});
        waiting_.push_back(fault);
        queued_.notify_one();
    }
}

void FaultWorkers::run_slow() {
    for (;;) {
        Pending pending;
        {
            const MutexLock lock(mutex_);
            while (queue_.empty() && !stop_.load(std::memory_order_acquire)) queued_.wait(mutex_);
            if (stop_.load(std::memory_order_acquire)) return;
            pending = queue_.front();
            queue_.pop_front();
        }
        serve(pending);
        options_.on_served(pending.fault.thread);
    }
}

void FaultWorkers::serve(const Pending& pending) {
    const Fault& fault = pending.fault;
    if (fault.origin == FaultOrigin::device || fault.origin == FaultOrigin::vmm) note_stale(fault);
    const std::optional<Gfn> gfn = ept_.memslots().to_guest(fault.page);
    if (!gfn) {
        // A staging slot that was believed full: counted above; the reader gets a zero page and its check will fail.
        (void)uffd_.zero(fault.page, 1);
        uffd_.wake(HvpRange{fault.page, 1});
        return;
    }
    const Result<FaultOutcome> outcome =
        mmu::handle_fault(ept_, pager_, *gfn, fault.is_write ? FaultAccess::write : FaultAccess::read);
    if (!outcome) {
        {
            const MutexLock lock(mutex_);
            parked_.push_back(fault);
            waiting_.push_back(fault);
        }
        if (!state_.stopping.load(std::memory_order_acquire)) options_.on_error(outcome.error());
        return;
    }
    if (*outcome == FaultOutcome::installed) {
        state_.stats.handler_latency.record(
            static_cast<std::uint64_t>(std::chrono::nanoseconds(Clock::now() - pending.read_at).count()));
    } else {
        if (*outcome == FaultOutcome::spurious && fault.kind == FaultKind::missing) check_spurious(fault, *gfn);
        uffd_.wake(HvpRange{fault.page, 1});  // it faults again if it still has to
    }
    finish(fault);
}

void FaultWorkers::finish(const Fault& fault) {
    const MutexLock lock(mutex_);
    if (waiting_.empty()) return;
    std::erase_if(waiting_, [&](const Fault& f) { return f.page == fault.page; });
}

void FaultWorkers::note_stale(const Fault& fault) {
    Counter* counter = fault.origin == FaultOrigin::device && options_.device_stale != nullptr ? options_.device_stale
                                                                                               : &ept_.counters().stale_faults;
    counter->add();
    if (options_.stale == StalePolicy::fatal) {
        assertion_failed("no fault", __FILE__, __LINE__, "a VMM or device thread touched guest memory through a stale entry");
    }
}

void FaultWorkers::check_spurious(const Fault& fault, Gfn gfn) {
    // The entry says present and somebody missed the page. Usually the page came between fault and message; but a page that
    // the kernel lacks while an access guard keeps its entry from being zapped means that the entry is stale.
    const std::optional<mmu::EptTable::Access> held = ept_.access(gfn);
    if (!held) return;
    const Result<bool> present = pagemap_.is_present(fault.page);
    if (!present || *present) return;
    ept_.counters().stale_faults.add();
    assertion_failed("page present", __FILE__, __LINE__, "the EPT table calls a page present that the kernel lacks");
}

void FaultWorkers::resume() {
    std::vector<Fault> parked;
    {
        const MutexLock lock(mutex_);
        parked.swap(parked_);
        for (const Fault& fault : parked) {
            std::erase_if(waiting_, [&](const Fault& f) { return f.page == fault.page; });
        }
    }
    for (const Fault& fault : parked) uffd_.wake(HvpRange{fault.page, 1});
}

bool FaultWorkers::is_waiting(pid_t thread) const {
    for (const auto& in_hand : in_hand_) {
        if (in_hand.load(std::memory_order_seq_cst) == thread) return true;
    }
    const MutexLock lock(mutex_);
    return std::any_of(waiting_.begin(), waiting_.end(), [&](const Fault& f) { return f.thread == thread; });
}

}  // namespace penumbra::vmm
