#include "vmm/devices/accelerator/page_requests.hpp"

#include <string>
#include <utility>

namespace penumbra::vmm {

using mmu::FaultOutcome;

PageRequests::PageRequests(mmu::DeviceTable& table, mmu::WindowSource& source, unsigned workers,
                           std::function<void(const Error&)> on_error)
    : table_(table), source_(source), on_error_(std::move(on_error)) {
    PENUMBRA_ASSERT(workers > 0, "page requests need a worker");
    for (unsigned i = 0; i < workers; ++i) {
        workers_.emplace_back("accel-prq-" + std::to_string(i), ThreadRole::vmm, [this] { work(); }, i);
    }
}

void PageRequests::post(std::span<const PageRequest> requests) {
    const MutexLock lock(mutex_);
    for (const PageRequest& request : requests) {
        if (interrupted_ || pending_.size() >= capacity) return;
        if (!pending_.insert(request.gfn).second) continue;
        queue_.push_back(request);
        posted_.add();
        work_.notify_one();
    }
}

PageAnswer PageRequests::fetch(PageRequest request) {
    const MutexLock lock(mutex_);
    while (!interrupted_ && pending_.size() >= capacity && !pending_.contains(request.gfn)) answered_.wait(mutex_);
    if (interrupted_) return PageAnswer::interrupted;
    wanted_ = request.gfn;
    answer_.reset();
    if (pending_.insert(request.gfn).second) {
        queue_.push_front(request);
        posted_.add();
        work_.notify_one();
    }
    while (!interrupted_ && !answer_) answered_.wait(mutex_);
    wanted_.reset();
    return answer_.value_or(PageAnswer::interrupted);
}

void PageRequests::resume() {
    const MutexLock lock(mutex_);
    failed_ = false;
    ++round_;
    work_.notify_all();
}

void PageRequests::interrupt() {
    const MutexLock lock(mutex_);
    interrupted_ = true;
    answered_.notify_all();
}

void PageRequests::discard() {
    const MutexLock lock(mutex_);
    PENUMBRA_ASSERT(!wanted_, "requests discarded under a waiting engine");
    for (const PageRequest& request : queue_) pending_.erase(request.gfn);
    queue_.clear();
    failed_ = false;
    ++round_;
    interrupted_ = stopping_;
}

void PageRequests::stop() {
    {
        const MutexLock lock(mutex_);
        stopping_ = true;
        interrupted_ = true;
        work_.notify_all();
        answered_.notify_all();
    }
    for (Thread& worker : workers_) worker.join();
}

void PageRequests::work() {
    while (const std::optional<Taken> taken = take()) {
        const PageRequest request = taken->request;
        const Result<FaultOutcome> outcome = mmu::handle_fault(table_, source_, request.gfn, request.access);
        if (!outcome) {
            keep(*taken, outcome.error());
        } else if (*outcome == FaultOutcome::out_of_memory) {
            keep(*taken, Error{"map a page for the accelerator", "no table page is left", 0, ""});
        } else {
            settle(request, *outcome);
        }
    }
}

std::optional<PageRequests::Taken> PageRequests::take() {
    const MutexLock lock(mutex_);
    while (!stopping_ && (failed_ || queue_.empty())) work_.wait(mutex_);
    if (stopping_) return std::nullopt;
    const PageRequest request = queue_.front();
    queue_.pop_front();
    return Taken{request, round_};
}

void PageRequests::settle(PageRequest request, FaultOutcome outcome) {
    const MutexLock lock(mutex_);
    switch (outcome) {
        case FaultOutcome::retry:
            retries_.add();
            queue_.push_back(request);  // behind the others: whoever invalidates gets time to end
            work_.notify_one();
            return;
        case FaultOutcome::emulate:
            return conclude(request, PageAnswer::not_ram);
        case FaultOutcome::denied:
            return conclude(request, PageAnswer::denied);
        default:
            return conclude(request, PageAnswer::look_again);
    }
}

void PageRequests::conclude(PageRequest request, PageAnswer answer) {
    pending_.erase(request.gfn);
    if (wanted_ == request.gfn) answer_ = answer;
    answered_.notify_all();
}

void PageRequests::keep(const Taken& taken, const Error& error) {
    {
        const MutexLock lock(mutex_);
        // Its cause may be cured already: who still wants the page asks again.
        if (taken.round != round_) return conclude(taken.request, PageAnswer::look_again);
        queue_.push_front(taken.request);
        if (std::exchange(failed_, true)) return;
    }
    if (on_error_) on_error_(error);
}

}  // namespace penumbra::vmm
