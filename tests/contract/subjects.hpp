// Holders of translations, each as its consumer sees it: table(), source() to install from, and answers(gfn).
#pragma once

#include <string_view>
#include <vector>

#include "notifier-bridge/subscriber.hpp"
#include "shadow-mmu/fault/fault_handler.hpp"
#include "shadow-mmu/flush/device_tlb.hpp"
#include "shadow-mmu/flush/flush_batch.hpp"
#include "shadow-mmu/flush/modelled_tlb.hpp"
#include "shadow-mmu/tables/device_table.hpp"
#include "shadow-mmu/tables/ept_table.hpp"
#include "shadow-mmu/tables/io_table.hpp"
#include "tests/support/fake_window.hpp"

namespace penumbra::test {

[[nodiscard]] inline mmu::NodeArena contract_arena() {
    Result<mmu::NodeArena> arena = mmu::NodeArena::create(16);
    PENUMBRA_ASSERT(arena.has_value(), "no memory for a test");
    return std::move(*arena);
}

/// Every page is always there: for tables that only map what others put in.
struct AlwaysThere final : mmu::PageSource {
    [[nodiscard]] Result<mmu::ResolvedPage> resolve(Hvp, mmu::FaultAccess) override { return mmu::ResolvedPage{}; }
    [[nodiscard]] std::optional<mmu::Content> commit(Hvp, mmu::ResolvedPage& resolved) override {
        return resolved.content;
    }
    void conclude(Hvp, mmu::ResolvedPage&, mmu::Conclusion) override {}
};

/// The accelerator's table: answers through its TLB first.
class DeviceSubject {
public:
    static constexpr std::uint64_t pages = 200;

    [[nodiscard]] mmu::DeviceTable& table() { return table_; }
    [[nodiscard]] mmu::PageSource& source() { return source_; }
    [[nodiscard]] bool answers(Gfn gfn) { return table_.access(gfn).has_value(); }

private:
    mmu::DeviceTlb tlb_;
    AlwaysThere source_;
    mmu::DeviceTable table_{"device", mmu::Memslots({{GfnRange{Gfn{0}, pages}, Hvp{5000}}}), contract_arena(), tlb_};
};

/// The accelerator's table where its leaves grow: two regions of 2 MiB, collapsed as soon as a full one is missed in.
class LargeDeviceSubject {
public:
    static constexpr std::uint64_t pages = 2 * entries_per_node;

    [[nodiscard]] mmu::DeviceTable& table() { return table_; }
    [[nodiscard]] mmu::PageSource& source() { return source_; }
    [[nodiscard]] bool answers(Gfn gfn) { return table_.access(gfn).has_value(); }

private:
    mmu::DeviceTlb tlb_;
    AlwaysThere source_;
    mmu::DeviceTable table_{"device", mmu::Memslots({{GfnRange{Gfn{0}, pages}, Hvp{10 * entries_per_node}}}),
                            contract_arena(), tlb_};
};

/// The virtio devices' table: a page answers while it can be held.
class IoSubject {
public:
    static constexpr std::uint64_t pages = 200;

    [[nodiscard]] mmu::IoTable& table() { return table_; }
    [[nodiscard]] mmu::PageSource& source() { return source_; }
    [[nodiscard]] bool answers(Gfn gfn) { return table_.hold(gfn).has_value(); }

private:
    [[nodiscard]] static mmu::AccessCounts counts() {
        Result<mmu::AccessCounts> made = mmu::AccessCounts::create(pages);
        PENUMBRA_ASSERT(made.has_value(), "no memory for a test");
        return std::move(*made);
    }

    AlwaysThere source_;
    mmu::IoTable table_{"io", mmu::Memslots({{GfnRange{Gfn{0}, pages}, Hvp{7000}}}), contract_arena(), counts()};
};

/// The vCPUs' table: a page answers while its entry is present, or while it is in the window.
class EptSubject {
public:
    static constexpr std::uint64_t pages = 200;

    [[nodiscard]] mmu::EptTable& table() { return table_; }
    /// The window's content is dropped with it, so the same zero page can come again.
    [[nodiscard]] mmu::PageSource& source() { return source_; }
    [[nodiscard]] bool answers(Gfn gfn) {
        return table_.access(gfn).has_value() || window_.present(*table_.memslots().to_host(gfn));
    }

private:
    FakeWindow window_{pages};
    AlwaysThere source_;
    mmu::EptTable table_{mmu::Memslots({{GfnRange{Gfn{0}, pages}, window_.pages().first()}}), contract_arena(),
                         window_};
};

/// The smallest table there can be, over the TLB that forgets nothing.
class ModelledTable final : public bridge::Subscriber, public mmu::TableBase<mmu::DeviceFormat> {
public:
    ModelledTable(mmu::Memslots memslots, mmu::ModelledTlb& tlb)
        : TableBase(std::move(memslots), contract_arena()), tlb_(tlb) {}

    [[nodiscard]] std::string_view name() const override { return "modelled"; }
    [[nodiscard]] bridge::SubscriberOrder order() const override { return bridge::SubscriberOrder::device; }
    [[nodiscard]] bridge::StartResult invalidate_start(const bridge::InvalidationEvent& event) override {
        sequence_.hold_off(event.ranges);
        std::vector<Frozen> frozen;
        if (freeze(event, frozen)) {
            flush_and_clear(frozen);
            return bridge::StartResult::done;
        }
        sequence_.lift(event.ranges);
        return bridge::StartResult::would_block;
    }
    void invalidate_end(const bridge::InvalidationEvent& event) override { sequence_.lift(event.ranges); }
    void release() override { flush_and_clear(freeze_everything().frozen); }
    [[nodiscard]] Result<> fill(Gfn, Hvp, const mmu::Content&) { return {}; }
    void forget_to_flush() { forgets_ = true; }

private:
    struct Flush {
        using Run = GfnRange;
        static constexpr std::size_t capacity = 8;
        mmu::ModelledTlb& tlb;
        void flush(std::span<const GfnRange> runs) const { tlb.flush(runs); }
        void flush_all() const { tlb.flush_all(); }
    };
    void flush_and_clear(const std::vector<Frozen>& frozen) {
        Flush target{tlb_};
        mmu::FlushBatch<Flush> batch(target);
        for (const Frozen& entry : frozen) {
            if (!forgets_) batch.add(GfnRange{entry.gfn, 1});
        }
        batch.commit();
        if (!frozen.empty()) counters().tlb_flushes.add();
        for (const Frozen& entry : frozen) clear(entry);
    }

    mmu::ModelledTlb& tlb_;
    bool forgets_ = false;
};

class ModelledSubject {
public:
    static constexpr std::uint64_t pages = 200;

    [[nodiscard]] ModelledTable& table() { return table_; }
    [[nodiscard]] mmu::PageSource& source() { return source_; }
    [[nodiscard]] bool answers(Gfn gfn) {
        if (tlb_.lookup(gfn)) return true;
        if (!table_.present(gfn)) return false;
        tlb_.fill(gfn, *table_.memslots().to_host(gfn), [this, gfn] { return table_.present(gfn); });
        return true;
    }
    [[nodiscard]] std::vector<Gfn> stale() {
        return tlb_.stale(
            [this](Gfn gfn, Hvp page) { return table_.present(gfn) && table_.memslots().to_host(gfn) == page; });
    }

private:
    mmu::ModelledTlb tlb_;
    AlwaysThere source_;
    ModelledTable table_{mmu::Memslots({{GfnRange{Gfn{0}, pages}, Hvp{9000}}}), tlb_};
};

}  // namespace penumbra::test
