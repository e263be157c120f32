// The fault protocol's share of docs/invariants.md, on a table that has nothing but the protocol and a TLB.
#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <vector>

#include "notifier-bridge/address_space.hpp"
#include "shadow-mmu/fault/fault_handler.hpp"
#include "shadow-mmu/flush/device_tlb.hpp"
#include "shadow-mmu/table/aging.hpp"
#include "shadow-mmu/table/dirty_tracking.hpp"
#include "shadow-mmu/tables/device_table.hpp"

namespace penumbra::mmu::invariants {
namespace {

using Format = DeviceFormat;

/// Every page is there; what happens while one is resolved is the test's.
struct ResolvedAtOnce final : PageSource {
    std::function<void(Hvp)> on_resolve;
    unsigned resolves = 0;

    [[nodiscard]] Result<ResolvedPage> resolve(Hvp page, FaultAccess) override {
        ++resolves;
        if (on_resolve) std::exchange(on_resolve, nullptr)(page);
        return ResolvedPage{};
    }
    [[nodiscard]] std::optional<Content> commit(Hvp, ResolvedPage& resolved) override { return resolved.content; }
    void conclude(Hvp, ResolvedPage&, Conclusion) override {}
};

struct TlbRuns {
    using Run = GfnRange;
    static constexpr std::size_t capacity = 4;
    Tlb& tlb;
    void flush(std::span<const GfnRange> runs) const { tlb.flush(runs); }
    void flush_all() const { tlb.flush_all(); }
};

/// RAM in two slots with a hole between them, host pages without one.
class InvariantsFault : public testing::Test {
protected:
    static constexpr std::uint64_t low = 96, high = 64;
    static constexpr Gfn high_first{4096}, hole{200};

    static NodeArena arena() {
        Result<NodeArena> made = NodeArena::create(16);
        PENUMBRA_ASSERT(made.has_value(), "no memory for a test");
        return std::move(*made);
    }
    FaultOutcome fault(Gfn gfn, Touch touch) {
        const FaultLimits limits{.attempts = 3, .hold_off = std::chrono::milliseconds{0}};
        const auto outcome = handle_fault(table_, source_, gfn, touch, limits);
        EXPECT_TRUE(outcome);
        return outcome.value_or(FaultOutcome::denied);
    }
    std::uint64_t raw(Gfn gfn) { return table_.table().lookup(gfn).raw; }
    void change(Gfn gfn, std::uint64_t to) {
        const auto cursor = table_.table().walk(gfn, Level::page_4k);
        const std::uint64_t from = cursor.slot->load();
        ASSERT_TRUE((transition<Format, AtomicEntryMemory>(*cursor.slot, from, to, cursor.level, table_.counters())));
    }

    DeviceTlb tlb_;
    ResolvedAtOnce source_;
    DeviceTable table_{"device",
                       Memslots({{GfnRange{Gfn{0}, low}, Hvp{5000}}, {GfnRange{high_first, high}, Hvp{5000 + low}}}),
                       arena(), tlb_};
    bridge::AddressSpace space_;
    bridge::Subscription subscription_ = space_.subscribe(table_);
};

TEST_F(InvariantsFault, AnInvalidationSinceTheSampleIsSeen) {
    source_.on_resolve = [this](Hvp page) {
        bridge::InvalidationEvent event;
        event.reason = bridge::Reason::discard;
        event.ranges.add({page, 1});
        const bridge::Invalidation whole(space_, std::move(event));
    };
    EXPECT_EQ(fault(Gfn{7}, Touch::write), FaultOutcome::installed);
    EXPECT_EQ(source_.resolves, 2U) << "what was resolved before the invalidation is worth nothing";
    EXPECT_EQ(table_.counters().retries.get(), 1U);
}

TEST_F(InvariantsFault, AnAgedPageComesBackWithTheRightsItHad) {
    ASSERT_EQ(fault(Gfn{7}, Touch::write), FaultOutcome::installed);
    const std::uint64_t before = raw(Gfn{7});
    EXPECT_TRUE(clear_young(table_.table(), GfnRange{Gfn{0}, low}, [](Gfn, std::uint64_t, Level) {}));
    EXPECT_EQ(fault(Gfn{7}, Touch::read), FaultOutcome::installed);
    EXPECT_EQ(raw(Gfn{7}), Format::write_protected(before)) << "a read gives no write back";
    EXPECT_EQ(fault(Gfn{7}, Touch::write), FaultOutcome::installed);
    EXPECT_EQ(raw(Gfn{7}), before);
    EXPECT_EQ(source_.resolves, 1U) << "the page never went";
}

TEST_F(InvariantsFault, WhatNoEntryMayPermitIsEmulated) {
    EXPECT_EQ(fault(hole, Touch::read), FaultOutcome::emulate) << "no RAM there";
    ASSERT_EQ(fault(Gfn{7}, Touch::write), FaultOutcome::installed);
    change(Gfn{7}, Format::write_tracked(raw(Gfn{7})));
    EXPECT_EQ(fault(Gfn{7}, Touch::write), FaultOutcome::emulate) << "writes are tracked: no fault gives W back";
    EXPECT_EQ(fault(Gfn{7}, Touch::read), FaultOutcome::spurious);
    EXPECT_FALSE(Format::writable(raw(Gfn{7})));
}

TEST_F(InvariantsFault, AGrantedWriteIsLoggedWhereItHappens) {
    const std::vector<Gfn> pages{Gfn{3}, Gfn{4}, Gfn{95}, high_first, high_first + 63};
    for (const Gfn gfn : pages) ASSERT_EQ(fault(gfn, Touch::write), FaultOutcome::installed);
    const unsigned resolved = source_.resolves;
    DirtyBitmap log(table_.memslots());
    table_.log_writes(&log);
    DirtyTracking<DeviceTable::Table> tracking(table_.table(), log, DirtyMode::write_protect);
    TlbRuns target{tlb_};
    FlushBatch<TlbRuns> batch(target);
    tracking.begin(GfnRange{Gfn{0}, 8192}, batch);
    const Gfn late = high_first + 9;
    EXPECT_EQ(fault(Gfn{4}, Touch::read), FaultOutcome::spurious);
    EXPECT_EQ(fault(Gfn{4}, Touch::write), FaultOutcome::installed);
    EXPECT_EQ(fault(Gfn{4}, Touch::write), FaultOutcome::spurious);
    EXPECT_EQ(fault(high_first + 63, Touch::write), FaultOutcome::installed);
    EXPECT_EQ(source_.resolves, resolved) << "nothing but a right was missing";
    EXPECT_EQ(fault(late, Touch::write), FaultOutcome::installed);
    std::set<Gfn> found;
    tracking.harvest(GfnRange{Gfn{0}, 8192}, batch, [&](Gfn gfn) { found.insert(gfn); });
    EXPECT_EQ(found, (std::set<Gfn>{Gfn{4}, high_first + 63, late}));
    table_.log_writes(nullptr);
}

TEST_F(InvariantsFault, AnEntryOnItsWayOutIsTriedAgain) {
    ASSERT_EQ(fault(Gfn{7}, Touch::write), FaultOutcome::installed);
    const std::uint64_t before = raw(Gfn{7});
    change(Gfn{7}, Format::frozen(before));
    EXPECT_EQ(fault(Gfn{7}, Touch::write), FaultOutcome::retry);
    EXPECT_EQ(raw(Gfn{7}), Format::frozen(before)) << "whose it is may change it";
    change(Gfn{7}, before);
    EXPECT_EQ(fault(Gfn{7}, Touch::write), FaultOutcome::spurious);
}

}  // namespace
}  // namespace penumbra::mmu::invariants
