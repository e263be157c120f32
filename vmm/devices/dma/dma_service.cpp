#include "vmm/devices/dma/dma_service.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "base/assert.hpp"
#include "vmm/devices/dma/dma_inbox.hpp"

namespace penumbra::vmm {

using mmu::EntryState;
using mmu::FaultAccess;
using mmu::FaultOutcome;
using mmu::HoldFor;
using mmu::IoTable;

namespace {

/// The window as it is: maps what is there, brings nothing in.
class InWindow final : public mmu::PageSource {
public:
    explicit InWindow(mmu::EptTable& ept) : ept_(ept) {}

    [[nodiscard]] Result<mmu::ResolvedPage> resolve(Hvp page, FaultAccess) override {
        const std::optional<Gfn> gfn = ept_.memslots().to_guest(page);
        if (!gfn || !ept_.present(*gfn)) return fail("map a page for a device", "it is out of the window");
        return mmu::ResolvedPage{};
    }
    [[nodiscard]] std::optional<mmu::Content> commit(Hvp, mmu::ResolvedPage& resolved) override {
        return resolved.content;
    }
    void conclude(Hvp, mmu::ResolvedPage&, mmu::Conclusion) override {}

private:
    mmu::EptTable& ept_;
};

}  // namespace

DmaService::DmaService(IoTable& table, mmu::EptTable& ept, mmu::PageSource& pager, DmaServiceOptions options)
    : table_(table), ept_(ept), source_(ept, pager), options_(std::move(options)) {
    PENUMBRA_ASSERT(options_.workers >= 2, "one worker for quick pages, one for all");
    for (unsigned i = 0; i < options_.workers; ++i) {
        workers_.emplace_back("dma-" + std::to_string(i), ThreadRole::vmm, [this, i] { work(i == 0); }, i);
    }
}

void DmaService::resume() {
    const MutexLock lock(mutex_);
    failed_ = false;
    ++round_;
    work_.notify_all();
}

void DmaService::stop() {
    std::vector<std::shared_ptr<DmaInbox>> inboxes;
    {
        const MutexLock lock(mutex_);
        stopping_ = true;
        inboxes.swap(inboxes_);
        work_.notify_all();
    }
    // First, because a worker's fault may be held off by an invalidation that waits for a grant to be looked at.
    for (const auto& inbox : inboxes) inbox->close();
    for (Thread& worker : workers_) worker.join();
    const MutexLock lock(mutex_);
    requests_.clear();
    quick_.clear();
    slow_.clear();
}

DmaService::Stats DmaService::stats() const {
    const IoTable::Stats& table = table_.stats();
    return {wishes_.get(),     already_present_.get(), source_.brought_in(), retries_.get(),
            table.holds.get(), table.waits.get(),      table.wait_ns.get()};
}

std::size_t DmaService::pending() const {
    const MutexLock lock(mutex_);
    return requests_.size();
}

// ---- for clients ----

void DmaService::add(std::shared_ptr<DmaInbox> inbox) {
    const MutexLock lock(mutex_);
    if (stopping_) return inbox->close();
    inboxes_.push_back(std::move(inbox));
}

void DmaService::remove(const std::shared_ptr<DmaInbox>& inbox) {
    forget(inbox);
    const MutexLock lock(mutex_);
    std::erase(inboxes_, inbox);
}

void DmaService::want(const std::shared_ptr<DmaInbox>& inbox, std::uint64_t number, Gfn gfn, FaultAccess access) {
    if (!memslots().to_host(gfn)) return inbox->give({number, DmaGrant::not_ram, gfn, nullptr});
    wishes_.add();
    if (std::optional<IoTable::Hold> held = hold(gfn, 1, HoldFor::access)) {
        already_present_.add();
        auto shared = std::make_shared<const IoTable::Hold>(std::move(*held));
        return inbox->give({number, DmaGrant::present, gfn, std::move(shared)});
    }
    const Pace pace = pace_of(gfn);
    const MutexLock lock(mutex_);
    if (stopping_) return;
    const auto [request, is_new] = requests_.try_emplace(gfn, Request{access, {}, false});
    if (access == FaultAccess::write) request->second.access = access;
    request->second.wishes.push_back({inbox, number});
    if (is_new) enqueue(gfn, pace);
}

void DmaService::forget(const std::shared_ptr<DmaInbox>& inbox) {
    const MutexLock lock(mutex_);
    for (auto& [gfn, request] : requests_) {
        std::erase_if(request.wishes, [&](const Wish& wish) { return wish.inbox == inbox; });
    }
    const auto nobodys = [this](const Queued& queued)
                             REQUIRES(mutex_) { return requests_.at(queued.gfn).wishes.empty(); };
    std::erase_if(quick_, nobodys);
    std::erase_if(slow_, nobodys);
    std::erase_if(requests_, [](const auto& entry) { return entry.second.wishes.empty() && !entry.second.in_hand; });
}

std::optional<IoTable::Hold> DmaService::hold(Gfn first, std::uint64_t pages, HoldFor purpose) {
    PENUMBRA_ASSERT(highest_rank_held() == 0, "a lock was held over a look at guest memory");
    std::uint64_t there = 0;
    while (there < pages && enter_if_in_window(first + there)) ++there;
    if (there == 0) return std::nullopt;
    return table_.hold(first, there, purpose);
}

bool DmaService::enter_if_in_window(Gfn gfn) {
    if (!memslots().to_host(gfn)) return false;
    const EntryState state = table_.state_of(gfn);
    if (state != EntryState::empty) return state == EntryState::present;  // frozen or busy: somebody is at it
    if (!ept_.present(gfn)) return false;
    InWindow source(ept_);
    constexpr mmu::FaultLimits at_once{.attempts = 1, .hold_off = std::chrono::milliseconds{0}};
    const Result<FaultOutcome> outcome = mmu::handle_fault(table_, source, gfn, FaultAccess::read, at_once);
    return outcome && (*outcome == FaultOutcome::installed || *outcome == FaultOutcome::spurious);
}

}  // namespace penumbra::vmm
