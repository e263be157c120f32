#include "vmm/memory/fault_workers.hpp"

#include <algorithm>
#include <utility>

#include "base/assert.hpp"
#include "base/planted.hpp"
#include "base/wait.hpp"
#include "shadow-mmu/fault/fault_handler.hpp"
#include "vmm/devices/dma/device_threads.hpp"

namespace penumbra::vmm {

using bridge::Fault;
using bridge::FaultKind;
using bridge::FaultOrigin;
using mmu::FaultAccess;
using mmu::FaultOutcome;

FaultWorkers::FaultWorkers(bridge::Userfaultfd& uffd, mmu::EptTable& ept, Pager& pager, PagerState& state,
                           Pagemap pagemap, FaultWorkersOptions options)
    : uffd_(uffd),
      ept_(ept),
      pager_(pager),
      state_(state),
      pagemap_(std::move(pagemap)),
      options_(std::move(options)),
      source_(uffd),
      reading_(options_.reading) {
    threads_.emplace_back("fault-reader", ThreadRole::vmm, [this] { run_reader(); });
    if (options_.on_guest_write) threads_.emplace_back("fault-writes", ThreadRole::vmm, [this] { run_writes(); });
    for (unsigned i = 0; i < options_.pool; ++i) {
        threads_.emplace_back("fault-" + std::to_string(i), ThreadRole::vmm, [this] { run_pool(); });
    }
}

void FaultWorkers::stop() {
    if (stop_.exchange(true, std::memory_order_acq_rel)) return;
    // The reader sleeps in read(): a fault of our own is the one thing that wakes it, whenever it comes.
    (void)*static_cast<volatile std::byte*>(options_.doorbell.data());
    {
        const MutexLock lock(mutex_);
        queued_.notify_all();
        writes_queued_.notify_all();
    }
    threads_.clear();
    // Nobody will answer these any more: their threads count as awake, to be asked out of the guest like all others.
    const MutexLock lock(mutex_);
    queue_.clear();
    writes_.clear();
    waiting_.clear();
    parked_.clear();
}

void FaultWorkers::run_reader() {
    read_faults();
    // However it ended: nobody may wait for an answer at the doorbell.
    (void)uffd_.unregister(options_.doorbell.pages());
}

void FaultWorkers::read_faults() {
    FaultBuffer buffer;
    while (!stop_.load(std::memory_order_acquire)) {
        const Result<std::span<Fault>> faults = next_faults(buffer);
        if (!faults) {
            options_.on_error(faults.error());
            return;
        }
        if (!faults->empty() && planted(Plant::dead_worker)) {
            options_.on_error(Error{"serve faults on guest memory", "a fault worker ended", 0, "restart the machine"});
            return;
        }
        take(*faults);
    }
}

bool FaultWorkers::may_spin() const {
    return reading_.load(std::memory_order_relaxed) == FaultReading::spin && !pager_.is_under_pressure();
}

Result<std::span<Fault>> FaultWorkers::next_faults(FaultBuffer& buffer) {
    using bridge::Userfaultfd;
    constexpr std::chrono::milliseconds attention{3};
    if (may_spin()) {
        if (!awake_) PENUMBRA_TRY(uffd_.set_reads(Userfaultfd::Reads::at_once));
        awake_ = true;
        const auto until = steady_now() + attention;
        do {
            PENUMBRA_TRY_ASSIGN(const std::span<Fault> faults, source_.read(buffer));
            if (!faults.empty()) return faults;
        } while (steady_now() < until && !stop_.load(std::memory_order_acquire));
    }
    if (awake_) PENUMBRA_TRY(uffd_.set_reads(Userfaultfd::Reads::blocking));
    awake_ = false;
    return source_.read(buffer);
}

void FaultWorkers::take(std::span<const Fault> faults) {
    const auto now = steady_now();
    // Those for the pool go first, so that their work runs while the quick ones are served here.
    std::array<Pending, bridge::UserfaultfdSource::batch> pooled;
    std::array<Pending, bridge::UserfaultfdSource::batch> quick;
    std::size_t pooled_count = 0;
    std::size_t quick_count = 0;
    for (const Fault& fault : faults) {
        if (options_.doorbell.pages().contains(fault.page)) continue;  // stop() rang
        note_stale(fault);
        Pending pending{fault, now, {}};
        const bool in_window = state_.window.contains(fault.page);
        if (in_window && is_told(fault)) {
            hand_over(std::span{&pending, 1}, Line::writes);
            continue;
        }
        if (in_window && fault.origin == FaultOrigin::guest)
            pending.plan = predictor_.observe(fault.thread, fault.page);
        if (fault.origin == FaultOrigin::guest) {
            follower_.saw(fault.cpu, may_spin() ? CpuFollower::Distance::other_cpu : CpuFollower::Distance::same_cpu);
        }
        const bool long_work = in_window && (pending.plan.count > 0 || !is_quick(fault.page));
        (long_work ? pooled[pooled_count++] : quick[quick_count++]) = pending;
    }
    if (pooled_count > 0) hand_over(std::span{pooled.data(), pooled_count});
    for (std::size_t i = 0; i < quick_count; ++i) {
        // Looked at again: the ones before may have taken the last room, and pages move on to slower tiers.
        if (state_.window.contains(quick[i].fault.page) && !is_quick(quick[i].fault.page)) {
            hand_over(std::span{&quick[i], 1});
            continue;
        }
        in_hand_.store(quick[i].fault.thread, std::memory_order_seq_cst);
        const bool served = serve(quick[i], Patience::reader);
        if (!served) hand_over(std::span{&quick[i], 1});
        in_hand_.store(0, std::memory_order_seq_cst);
        if (served) options_.on_served(quick[i].fault.thread);
    }
}

bool FaultWorkers::is_quick(Hvp page) const {
    // At the hard limit a page has to wait for room, which is no work for the one thread that reads.
    return !pager_.is_slow(page) && state_.budget.has_room();
}

void FaultWorkers::hand_over(std::span<const Pending> faults, Line line) {
    const MutexLock lock(mutex_);
    std::deque<Pending>& queue = line == Line::pool ? queue_ : writes_;
    for (const Pending& pending : faults) {
        // Some hosts make a thread that has a signal pending fault again and again until the page is there. A fault
        // that is still queued or parked will be answered with a wake-up that comes after this message; one that is
        // being answered may not, so it is not looked at.
        const auto same = [&](const Fault& f) {
            return f.thread == pending.fault.thread && f.page == pending.fault.page;
        };
        const bool queued = std::any_of(queue.begin(), queue.end(), [&](const Pending& p) { return same(p.fault); });
        if (queued || std::any_of(parked_.begin(), parked_.end(), same)) continue;
        if (queue.size() == queue_limit) {
            uffd_.wake(HvpRange{pending.fault.page, 1});  // it faults again, later
            continue;
        }
        queue.push_back(pending);
        waiting_.push_back(pending.fault);
        (line == Line::pool ? queued_ : writes_queued_).notify_one();
    }
}

void FaultWorkers::park(const Fault& fault) {
    const MutexLock lock(mutex_);
    const auto same = [&](const Fault& f) { return f.thread == fault.thread && f.page == fault.page; };
    if (std::none_of(parked_.begin(), parked_.end(), same)) parked_.push_back(fault);
    if (std::none_of(waiting_.begin(), waiting_.end(), same)) waiting_.push_back(fault);
}

void FaultWorkers::run_pool() {
    for (;;) {
        Pending pending;
        {
            const MutexLock lock(mutex_);
            while (queue_.empty() && !stop_.load(std::memory_order_acquire)) queued_.wait(mutex_);
            if (stop_.load(std::memory_order_acquire)) return;
            pending = queue_.front();
            queue_.pop_front();
        }
        bring_along(pending);
        (void)serve(pending, Patience::pool);
        options_.on_served(pending.fault.thread);
    }
}

/// The planned pages go in before the one that was asked for: its thread, once awake, would fault on each of them.
void FaultWorkers::bring_along(const Pending& pending) {
    if (pending.plan.count == 0) return;
    const std::uint64_t wanted = pending.plan.count + 1;
    if (state_.budget.charged() + wanted * page_bytes > state_.budget.limit()) return;
    std::array<Hvp, StridePredictor::most + 1> pages{pending.fault.page};
    std::size_t count = 1;
    for (std::uint32_t n = 1; n <= pending.plan.count; ++n) {
        const std::optional<Hvp> page = pending.plan.page(pending.fault.page, n, state_.window);
        if (page && state_.words.load(state_.index_of(*page)).state() != PageState::resident) pages[count++] = *page;
    }
    pager_.read_ahead(std::span{pages.data(), count});
    const FaultAccess access = pending.fault.is_write ? FaultAccess::write : FaultAccess::read;
    for (std::size_t i = 1; i < count; ++i) {
        const std::optional<Gfn> gfn = ept_.memslots().to_guest(pages[i]);
        const Result<FaultOutcome> outcome = mmu::handle_fault(ept_, pager_, *gfn, access);
        if (!outcome) return;  // a guess may fail; the fault itself reports
        if (*outcome == FaultOutcome::installed) state_.stats.prefetched.add();
    }
}

bool FaultWorkers::serve(const Pending& pending, Patience patience) {
    constexpr mmu::FaultLimits impatient{.hold_off = std::chrono::milliseconds{1}};
    const Fault& fault = pending.fault;
    const std::optional<Gfn> gfn = ept_.memslots().to_guest(fault.page);
    if (!gfn) {
        // A staging slot that was believed full: counted already; who reads gets a zero page and its check will fail.
        (void)uffd_.zero(fault.page, 1);
        uffd_.wake(HvpRange{fault.page, 1});
        return true;
    }
    const bool reads = patience == Patience::reader;
    mmu::PageSource& source = reads ? pager_.at_once() : pager_;
    const Result<FaultOutcome> outcome =
        mmu::handle_fault(ept_, source, *gfn, fault.is_write ? FaultAccess::write : FaultAccess::read,
                          reads ? impatient : mmu::FaultLimits{});
    if (!outcome && reads) return false;
    if (!outcome) {
        park(fault);
        if (!state_.stopping.load(std::memory_order_acquire)) options_.on_error(outcome.error());
        return true;
    }
    if (*outcome == FaultOutcome::installed) {
        state_.stats.handler_latency.record(
            static_cast<std::uint64_t>(std::chrono::nanoseconds(steady_now() - pending.read_at).count()));
    } else {
        if (*outcome == FaultOutcome::spurious && fault.kind == FaultKind::missing) check_spurious(fault, *gfn);
        uffd_.wake(HvpRange{fault.page, 1});  // it faults again if it still has to
    }
    finish(fault);
    return true;
}

void FaultWorkers::finish(const Fault& fault) {
    const MutexLock lock(mutex_);
    if (waiting_.empty() && parked_.empty()) return;
    const auto same_page = [&](const Fault& f) { return f.page == fault.page; };
    std::erase_if(waiting_, same_page);
    std::erase_if(parked_, same_page);
}

Counter& FaultWorkers::stale_counter(const Fault& fault) {
    Counter* counter = nullptr;
    if (const ThreadRegister::Entry* thread = ThreadRegister::instance().find(fault.thread);
        thread != nullptr && fault.origin == FaultOrigin::device) {
        const bool is_loop = DeviceThread{thread->index.load(std::memory_order_relaxed)} == DeviceThread::io_loop;
        counter = is_loop ? options_.io_stale : options_.device_stale;
    }
    return counter != nullptr ? *counter : ept_.counters().stale_faults;
}

void FaultWorkers::note_stale(const Fault& fault) {
    if (fault.origin != FaultOrigin::device && fault.origin != FaultOrigin::vmm) return;
    if (is_told(fault)) return;
    stale_counter(fault).add();
    if (options_.stale == StalePolicy::fatal) {
        assertion_failed("no fault", __FILE__, __LINE__,
                         "a VMM or device thread touched guest memory through a stale entry");
    }
}

void FaultWorkers::check_spurious(const Fault& fault, Gfn gfn) {
    // The entry says present and somebody missed the page. Usually the page came between fault and message; but a page
    // that the kernel lacks while an access guard keeps its entry from being zapped means that the entry is stale.
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
    if (in_hand_.load(std::memory_order_seq_cst) == thread) return true;
    const MutexLock lock(mutex_);
    return std::any_of(waiting_.begin(), waiting_.end(), [&](const Fault& f) { return f.thread == thread; });
}

}  // namespace penumbra::vmm
