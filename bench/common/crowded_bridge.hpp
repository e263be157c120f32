// An address space with many subscribers to single pages, and events over pages between theirs.
#pragma once

#include <cstdint>
#include <vector>

#include "notifier-bridge/address_space.hpp"

namespace penumbra::bench {

class CrowdedBridge {
public:
    static constexpr std::uint64_t event_pages = 64;  ///< as many as the reclaimer takes at once

    /// Subscribers to even pages, spread at random over 1 GiB; none twice.
    explicit CrowdedBridge(std::size_t subscribers);
    /// So many starts and ends, each of an event over scattered odd pages.
    void invalidate(std::uint64_t events);

private:
    class Deaf final : public bridge::Subscriber {
    public:
        [[nodiscard]] std::string_view name() const override { return "deaf"; }
        [[nodiscard]] bridge::SubscriberOrder order() const override { return bridge::SubscriberOrder::remote; }
        [[nodiscard]] bridge::StartResult invalidate_start(const bridge::InvalidationEvent& event) override;
        void invalidate_end(const bridge::InvalidationEvent&) override {}
        void release() override {}
    };

    bridge::AddressSpace space_;
    std::vector<Deaf> subscribers_;
    std::vector<bridge::Subscription> subscriptions_;
    std::vector<bridge::RangeSet> events_;  // prepared, so that only the bridge is measured
    std::size_t next_ = 0;
};

}  // namespace penumbra::bench
