// The entries of guest tables as a fault reads them: each table's page is sampled before its first entry is read, as
// the fault protocol demands of every page that goes into a result.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <optional>
#include <span>
#include <utility>

#include "notifier-bridge/interval_subscription.hpp"
#include "shadow-mmu/shadow/progress.hpp"
#include "shadow-mmu/shadow/watch_port.hpp"
#include "shadow-mmu/table/memslots.hpp"

namespace penumbra::mmu {

/// One thread, for one attempt. May wait for an invalidation to end.
class SampledEntries final : public GuestEntries {
public:
    using Sequence = bridge::IntervalSubscription::Sequence;
    using Exchange = std::function<EntryExchange(Gpa, std::uint64_t, std::uint64_t)>;
    struct Sample {
        Hvp page;
        Sequence sequence;
    };

    SampledEntries(const Memslots& memslots, bridge::IntervalSubscription& sequence, GuestMemory& memory,
                   ShadowTime deadline, Exchange exchange)
        : memslots_(memslots),
          sequence_(sequence),
          memory_(memory),
          deadline_(deadline),
          exchange_(std::move(exchange)) {}

    [[nodiscard]] std::expected<std::uint64_t, EntryProblem> read(Gpa entry) override {
        const std::optional<Hvp> page = memslots_.to_host(frame_of(entry));
        if (!page) return std::unexpected{EntryProblem::not_ram};
        if (!sample(*page)) return std::unexpected{EntryProblem::absent};
        return memory_.read(entry);
    }
    [[nodiscard]] EntryExchange compare_exchange(Gpa entry, std::uint64_t expected, std::uint64_t desired) override {
        return exchange_(entry, expected, desired);
    }

    /// False: an invalidation of the page did not end in time.
    [[nodiscard]] bool sample(Hvp page) {
        for (const Sample& known : samples()) {
            if (known.page == page) return true;
        }
        const auto sequence = sequence_.read_begin(page, deadline_);
        if (!sequence || count_ == samples_.size()) {
            held_off_ = true;
            return false;
        }
        samples_[count_++] = {page, *sequence};
        return true;
    }
    /// Whether the host took or changed a sampled page since. False is firm under the table's lock only.
    [[nodiscard]] bool stale() const {
        for (const Sample& known : samples()) {
            if (sequence_.read_retry(known.page, known.sequence)) return true;
        }
        return false;
    }
    [[nodiscard]] bool held_off() const { return held_off_; }

private:
    [[nodiscard]] std::span<const Sample> samples() const { return std::span(samples_).first(count_); }

    const Memslots& memslots_;
    bridge::IntervalSubscription& sequence_;
    GuestMemory& memory_;
    const ShadowTime deadline_;
    const Exchange exchange_;
    // A walk that starts over may meet other tables: what does not fit makes the fault begin again.
    std::array<Sample, 16> samples_{};
    std::size_t count_ = 0;
    bool held_off_ = false;
};

}  // namespace penumbra::mmu
