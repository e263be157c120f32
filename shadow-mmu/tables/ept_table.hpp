// Guest-physical page -> host virtual page of the window: the vCPUs' table, and the only writer of the window. A page
// is in the window if and only if its entry is present; so the table is not a mirror of something else, it decides.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "shadow-mmu/flush/access_tracker.hpp"
#include "shadow-mmu/flush/window_port.hpp"
#include "shadow-mmu/format/ept_format.hpp"
#include "shadow-mmu/tables/table_base.hpp"

namespace penumbra::mmu {

/// Thread-safe. Subscribes last, so that no device access is in flight when pages leave the window.
class EptTable final : public bridge::Subscriber, public TableBase<EptFormat> {
public:
    EptTable(Memslots memslots, NodeArena arena, WindowPort& window)
        : TableBase(std::move(memslots), std::move(arena)), window_(window) {}

    [[nodiscard]] std::string_view name() const override { return "ept"; }
    [[nodiscard]] bridge::SubscriberOrder order() const override { return bridge::SubscriberOrder::ept; }

    /// Events that keep the content must carry staging, where the pages go; without it (discard, unmap, release) they
    /// are dropped.
    [[nodiscard]] bridge::StartResult invalidate_start(const bridge::InvalidationEvent& event) override;
    void invalidate_end(const bridge::InvalidationEvent& event) override;
    void release() override;

    /// Fault protocol: makes the claimed page present in the window.
    [[nodiscard]] Result<> fill(Gfn, Hvp page, Content content) { return window_.put_in(page, content); }
    void wake(Gfn gfn) {
        if (const std::optional<Hvp> page = memslots_.to_host(gfn)) window_.wake(HvpRange{*page, 1});
    }

    /// For VMM code that reads or writes guest memory: the page, held in the window while the access lives.
    struct Access {
        AccessTracker::Guard guard;
        Hvp page;
    };
    /// nullopt when the page is not present: fault it in and ask again.
    [[nodiscard]] std::optional<Access> access(Gfn gfn);

private:
    void flush(const bridge::InvalidationEvent& event, const std::vector<Frozen>& frozen);
    void settle(const bridge::InvalidationEvent& event, const std::vector<Frozen>& frozen);

    WindowPort& window_;
    AccessTracker accesses_;
};

}  // namespace penumbra::mmu
