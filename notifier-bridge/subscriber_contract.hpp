// Wraps a subscriber and checks the contract of subscriber.hpp on every call. Test builds wrap every subscriber.
#pragma once

#include <atomic>
#include <cstdint>

#include "notifier-bridge/subscriber.hpp"

namespace penumbra::bridge {

class SubscriberContract final : public Subscriber {
public:
    explicit SubscriberContract(Subscriber& inner) : inner_(inner) {}

    [[nodiscard]] std::string_view name() const override { return inner_.name(); }
    [[nodiscard]] SubscriberOrder order() const override { return inner_.order(); }
    [[nodiscard]] StartResult invalidate_start(const InvalidationEvent& event) override;
    void invalidate_end(const InvalidationEvent& event) override;
    void release() override;

    [[nodiscard]] Subscriber& inner() const { return inner_; }
    /// Starts that were answered `done` and not yet ended.
    [[nodiscard]] std::int64_t open() const { return open_.load(std::memory_order_acquire); }

private:
    Subscriber& inner_;
    std::atomic<std::int64_t> open_{0};
    std::atomic<bool> released_{false};
};

}  // namespace penumbra::bridge
