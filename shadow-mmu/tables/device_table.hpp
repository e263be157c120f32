// Guest-physical page -> host virtual page for one device: the accelerator's own page table. An entry exists only while
// the page is in the window, because the bridge runs this table's start before the window's.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shadow-mmu/flush/access_tracker.hpp"
#include "shadow-mmu/flush/device_tlb.hpp"
#include "shadow-mmu/flush/window_port.hpp"
#include "shadow-mmu/format/device_format.hpp"
#include "shadow-mmu/tables/table_base.hpp"

namespace penumbra::mmu {

/// Thread-safe. The TLB belongs to the device's engine and must outlive the table's subscription.
class DeviceTable final : public bridge::Subscriber, public TableBase<DeviceFormat> {
public:
    DeviceTable(std::string name, Memslots memslots, NodeArena arena, DeviceTlb& tlb)
        : TableBase(std::move(memslots), std::move(arena)), name_(std::move(name)), tlb_(tlb) {}

    [[nodiscard]] std::string_view name() const override { return name_; }
    [[nodiscard]] bridge::SubscriberOrder order() const override { return bridge::SubscriberOrder::device; }
    [[nodiscard]] bridge::StartResult invalidate_start(const bridge::InvalidationEvent& event) override;
    void invalidate_end(const bridge::InvalidationEvent& event) override { sequence_.lift(event.ranges); }
    void release() override;

    /// Fault protocol: the page is in the window already.
    [[nodiscard]] Result<> fill(Gfn, Hvp, const Content&) { return {}; }

    /// A page that the engine may read and write while the access lives.
    struct Access {
        AccessTracker::Guard guard;
        Hvp page;
    };
    /// Through the TLB, then the table. nullopt: a miss, post a page request. Called by the engine's thread only.
    [[nodiscard]] std::optional<Access> access(Gfn gfn);

private:
    void flush_tlb(const std::vector<Frozen>& frozen);

    std::string name_;
    DeviceTlb& tlb_;
    AccessTracker accesses_;
};

}  // namespace penumbra::mmu
