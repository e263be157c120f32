// A device's table over memory of whole 2 MiB, with a window that is a flag per page: for tests of large leaves.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "notifier-bridge/address_space.hpp"
#include "shadow-mmu/fault/fault_handler.hpp"
#include "shadow-mmu/flush/device_tlb.hpp"
#include "shadow-mmu/tables/device_table.hpp"

namespace penumbra::test {

/// Brings pages into the window at commit, when their entry is claimed.
class FlagWindow final : public mmu::PageSource {
public:
    FlagWindow(Hvp first, std::uint64_t pages) : first_(first), in_(std::make_unique<std::atomic<bool>[]>(pages)) {}

    [[nodiscard]] Result<mmu::ResolvedPage> resolve(Hvp, mmu::FaultAccess) override { return mmu::ResolvedPage{}; }
    [[nodiscard]] std::optional<mmu::Content> commit(Hvp page, mmu::ResolvedPage& resolved) override {
        in_[page - first_].store(true);
        return resolved.content;
    }
    void conclude(Hvp, mmu::ResolvedPage&, mmu::Conclusion) override {}

    [[nodiscard]] bool has(Hvp page) const { return in_[page - first_].load(); }
    void take_out(const bridge::RangeSet& ranges) {
        for (const HvpRange& range : ranges.ranges()) {
            for (Hvp page = range.first(); page < range.end(); ++page) in_[page - first_].store(false);
        }
    }

private:
    const Hvp first_;
    std::unique_ptr<std::atomic<bool>[]> in_;
};

class LargeLeaves {
public:
    static constexpr Hvp host{std::uint64_t{1} << 20};  // a multiple of 1 GiB

    /// `nodes` table pages; by default as many as small leaves take.
    explicit LargeLeaves(std::uint64_t pages, std::uint64_t nodes = 0)
        : window(host, pages), table("device", slots(pages), arena(nodes != 0 ? nodes : nodes_for(pages)), tlb) {}

    [[nodiscard]] static mmu::Memslots slots(std::uint64_t pages) {
        return mmu::Memslots({{GfnRange{Gfn{0}, pages}, host}});
    }
    /// Exactly.
    [[nodiscard]] static std::uint64_t nodes_for(std::uint64_t pages) {
        const std::uint64_t regions = (pages + entries_per_node - 1) / entries_per_node;
        return regions + (regions + entries_per_node - 1) / entries_per_node + 2;
    }
    [[nodiscard]] static mmu::NodeArena arena(std::uint64_t nodes) {
        Result<mmu::NodeArena> made = mmu::NodeArena::create(nodes);
        PENUMBRA_ASSERT(made.has_value(), "no memory for a test");
        return std::move(*made);
    }

    mmu::FaultOutcome fault(Gfn gfn, mmu::FaultAccess access = mmu::FaultAccess::write) {
        return mmu::handle_fault(table, window, gfn, access).value_or(mmu::FaultOutcome::denied);
    }
    void fault(GfnRange range) {
        for (Gfn gfn = range.first(); gfn < range.end(); ++gfn) (void)fault(gfn);
    }
    /// As the engine does it: again until the page is there. False: it never is.
    bool reach(Gfn gfn, mmu::FaultAccess access = mmu::FaultAccess::write) {
        for (unsigned attempt = 0; attempt < 100; ++attempt) {
            if (const auto held = table.access(gfn, access)) return held->page == host + gfn.value();
            (void)fault(gfn, access);
        }
        return false;
    }
    /// From start to end; what is in between sees the pages gone.
    template <class Fn>
    void invalidate(const std::vector<GfnRange>& ranges, Fn&& between) {
        bridge::InvalidationEvent event;
        event.reason = bridge::Reason::discard;
        for (const GfnRange& range : ranges) event.ranges.add(HvpRange{host + range.first().value(), range.pages()});
        const bridge::RangeSet pages = event.ranges;
        const bridge::Invalidation bracket(space, std::move(event));
        window.take_out(pages);
        between();
    }
    void invalidate(const std::vector<GfnRange>& ranges) {
        invalidate(ranges, [] {});
    }
    [[nodiscard]] Level level_of(Gfn gfn) { return table.table().lookup(gfn).level; }
    /// Pages that the table translates.
    [[nodiscard]] std::uint64_t mapped() {
        const mmu::TableCounters& counters = table.counters();
        return counters.mapped.get() - counters.zapped.get();
    }

    mmu::DeviceTlb tlb;
    FlagWindow window;
    mmu::DeviceTable table;
    bridge::AddressSpace space;
    bridge::Subscription subscription = space.subscribe(table);
};

}  // namespace penumbra::test
