// Guest-physical page -> host virtual page for devices whose accesses are the kernel's as well: one per VM, for all of
// its virtio devices. As with the accelerator's table an entry exists only while the page is in the window; there is no
// TLB, and an access may last as long as a disk takes.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/counters.hpp"
#include "shadow-mmu/flush/access_counts.hpp"
#include "shadow-mmu/flush/hold_times.hpp"
#include "shadow-mmu/flush/window_port.hpp"
#include "shadow-mmu/format/device_format.hpp"
#include "shadow-mmu/tables/table_base.hpp"

namespace penumbra::mmu {

enum class HoldFor : std::uint8_t {
    access,  ///< the caller's own loads and stores: microseconds
    io,      ///< the kernel's I/O: see pages_held_longer_than()
};

/// Thread-safe. A start, and release(), wait until the holds of the event's pages are released; a start that may not
/// block answers would_block instead.
///
/// A start first waits, for as long as its patience lasts, with nothing frozen: one slow I/O holds up whoever wants its
/// page out, and neither the devices that use the page and its neighbours, nor a device that would end the I/O only
/// after it got another page. Then it freezes the entries and waits for good.
class IoTable final : public bridge::Subscriber, public TableBase<DeviceFormat> {
public:
    static constexpr std::chrono::milliseconds default_patience{1000};

    /// `counts` has a page for every page of the memslots, and no accesses yet.
    IoTable(std::string name, Memslots memslots, NodeArena arena, AccessCounts counts,
            std::chrono::milliseconds patience = default_patience);

    [[nodiscard]] std::string_view name() const override { return name_; }
    [[nodiscard]] bridge::SubscriberOrder order() const override { return bridge::SubscriberOrder::device; }
    [[nodiscard]] bridge::StartResult invalidate_start(const bridge::InvalidationEvent& event) override;
    void invalidate_end(const bridge::InvalidationEvent& event) override { sequence_.lift(event.ranges); }
    void release() override;

    /// Fault protocol: the page is in the window already.
    [[nodiscard]] Result<> fill(Gfn, Hvp, const Content&) { return {}; }

    /// A run of pages that stay in the window while this lives. Movable; may be released on any thread. The table
    /// outlives it.
    class Hold {
    public:
        Hold() = default;
        Hold(Hold&& other) noexcept { *this = std::move(other); }
        Hold& operator=(Hold&& other) noexcept;
        ~Hold() { release(); }

        [[nodiscard]] explicit operator bool() const { return table_ != nullptr; }
        /// Contiguous in the host.
        [[nodiscard]] HvpRange pages() const { return pages_; }
        /// Another hold of the same pages, also when they are wanted out already. nullopt: too many holds.
        [[nodiscard]] std::optional<Hold> again(HoldFor purpose) const;
        void release();

    private:
        friend class IoTable;
        IoTable* table_ = nullptr;
        HvpRange pages_;
        std::uint64_t first_ = 0;  // number of the first page
        std::optional<HoldTimes::Place> timed_;
    };

    /// The first pages of [first, first + pages): as many as have an entry now and lie in one memslot. nullopt: the
    /// first has none (fault it in), or has too many holds. Never waits. `pages` > 0.
    [[nodiscard]] std::optional<Hold> hold(Gfn first, std::uint64_t pages = 1, HoldFor purpose = HoldFor::access);

    /// True while somebody holds the page, or is about to look. Cheap.
    [[nodiscard]] bool in_use(Hvp page) const;
    /// Pages that I/O has held for at least `age`.
    [[nodiscard]] std::uint64_t pages_held_longer_than(std::chrono::nanoseconds age) const {
        return times_.pages_older_than(age);
    }

    struct Stats {
        Counter holds;    ///< granted
        Counter waits;    ///< starts that had to wait for holds
        Counter wait_ns;  ///< what they waited, in total
    };
    [[nodiscard]] const Stats& stats() const { return stats_; }

private:
    struct Place {
        std::uint64_t number;  // for counts_
        std::uint64_t left;    // pages of the memslot from here on
        Hvp host;
    };
    [[nodiscard]] std::optional<Place> place_of(Gfn gfn) const;
    [[nodiscard]] std::uint64_t number_of(Gfn gfn) const { return place_of(gfn)->number; }
    /// Announces first and looks afterwards; with `false` the page is neither held nor announced.
    [[nodiscard]] bool enter(Gfn gfn, std::uint64_t number);
    /// Holds off and freezes; false: it would have to wait for an entry, and nothing has changed.
    [[nodiscard]] bool begin(const bridge::InvalidationEvent& event, std::vector<Frozen>& frozen);
    void undo(const bridge::InvalidationEvent& event, std::vector<Frozen>& frozen);
    [[nodiscard]] bool busy(const std::vector<Frozen>& frozen) const;
    /// False at the deadline.
    [[nodiscard]] bool wait_for_holds(const std::vector<std::uint64_t>& numbers, HoldTimes::Clock::time_point deadline);
    [[nodiscard]] std::vector<std::uint64_t> numbers_of(const std::vector<Frozen>& frozen) const;

    std::string name_;
    const std::chrono::milliseconds patience_;
    AccessCounts counts_;
    HoldTimes times_;
    Stats stats_;
};

}  // namespace penumbra::mmu
