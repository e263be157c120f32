// The second half of DmaService: its workers.
#include <algorithm>
#include <utility>

#include "vmm/devices/dma/dma_inbox.hpp"
#include "vmm/devices/dma/dma_service.hpp"

namespace penumbra::vmm {

using mmu::FaultOutcome;
using mmu::IoTable;

void DmaService::work(bool only_quick) {
    while (const std::optional<Taken> taken = take(only_quick)) serve(*taken);
}

DmaService::Pace DmaService::pace_of(Gfn gfn) const {
    const std::optional<Hvp> page = memslots().to_host(gfn);
    return page && options_.is_slow && options_.is_slow(*page) ? Pace::slow : Pace::quick;
}

void DmaService::enqueue(Gfn gfn, Pace pace) {
    (pace == Pace::quick ? quick_ : slow_).push_back({gfn, ++tickets_});
    work_.notify_all();  // one alone might be the worker that takes no slow page
}

std::deque<DmaService::Queued>* DmaService::next_queue(bool only_quick) {
    if (only_quick || slow_.empty()) return quick_.empty() ? nullptr : &quick_;
    return quick_.empty() || slow_.front().ticket < quick_.front().ticket ? &slow_ : &quick_;
}

std::optional<DmaService::Taken> DmaService::take(bool only_quick) {
    const MutexLock lock(mutex_);
    for (;;) {
        std::deque<Queued>* queue = nullptr;
        while (!stopping_ && (failed_ || (queue = next_queue(only_quick)) == nullptr)) work_.wait(mutex_);
        if (stopping_) return std::nullopt;
        const Gfn gfn = queue->front().gfn;
        queue->pop_front();
        if (only_quick && pace_of(gfn) == Pace::slow) {  // it moved on to a slower tier while it waited
            enqueue(gfn, Pace::slow);
            continue;
        }
        Request& request = requests_.at(gfn);
        request.in_hand = true;
        return Taken{gfn, request.access, round_};
    }
}

void DmaService::serve(const Taken& taken) {
    std::shared_ptr<const IoTable::Hold> hold;
    const Result<Served> served = bring_in(taken, hold);
    if (!served) return keep(taken, served.error());
    switch (*served) {
        case Served::present:
            return conclude(taken.gfn, DmaGrant::present, hold);
        case Served::not_ram:
            return conclude(taken.gfn, DmaGrant::not_ram, nullptr);
        case Served::again:
            retries_.add();
            return put_back(taken.gfn);
        case Served::never:
            (void)finish(taken.gfn);
            return;
    }
}

Result<DmaService::Served> DmaService::bring_in(const Taken& taken, std::shared_ptr<const IoTable::Hold>& hold) {
    constexpr unsigned rounds = 8;  // then others have their turn
    for (unsigned round = 0; round < rounds; ++round) {
        PENUMBRA_TRY_ASSIGN(const FaultOutcome outcome, mmu::handle_fault(table_, source_, taken.gfn, taken.access));
        switch (outcome) {
            case FaultOutcome::installed:
            case FaultOutcome::spurious:
                if (std::optional<IoTable::Hold> held = table_.hold(taken.gfn)) {
                    hold = std::make_shared<const IoTable::Hold>(std::move(*held));
                    return Served::present;
                }
                break;  // it left before it could be held
            case FaultOutcome::retry:
                return Served::again;
            case FaultOutcome::emulate:
                return Served::not_ram;
            case FaultOutcome::denied:
                return Served::never;
            case FaultOutcome::out_of_memory:
                return fail("map a page for a device", "no table page is left");
        }
    }
    return Served::again;
}

void DmaService::conclude(Gfn gfn, DmaGrant what, const std::shared_ptr<const IoTable::Hold>& hold) {
    for (const Wish& wish : finish(gfn)) wish.inbox->give({wish.number, what, gfn, hold});
}

std::vector<DmaService::Wish> DmaService::finish(Gfn gfn) {
    const MutexLock lock(mutex_);
    auto request = requests_.extract(gfn);
    return request.empty() ? std::vector<Wish>{} : std::move(request.mapped().wishes);
}

void DmaService::put_back(Gfn gfn) {
    const MutexLock lock(mutex_);
    Request& request = requests_.at(gfn);
    request.in_hand = false;
    if (request.wishes.empty()) {
        requests_.erase(gfn);
    } else {
        enqueue(gfn, pace_of(gfn));
    }
}

void DmaService::keep(const Taken& taken, const Error& error) {
    put_back(taken.gfn);
    {
        const MutexLock lock(mutex_);
        // Its cause may be cured already: then it fails again, or does not.
        if (stopping_ || taken.round != round_ || std::exchange(failed_, true)) return;
    }
    if (options_.on_error) options_.on_error(error);
}

}  // namespace penumbra::vmm
