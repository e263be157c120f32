// Write protection for a guest that is a test's thread: the fake window cannot stop its stores, so they ask.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/mutex.hpp"
#include "shadow-mmu/shadow/shadow_table.hpp"
#include "shadow-mmu/tables/watched_window.hpp"
#include "tests/support/fake_window.hpp"

namespace penumbra::test {

/// Thread-safe. A store either comes before a watch of its page or waits for ShadowTable::written(), as a processor's
/// does. What the device stores by guest-physical address is not stopped.
class HonouredWatches final : public mmu::WatchPort {
public:
    HonouredWatches(mmu::WatchedWindow& window, mmu::EptTable& ept, const FakeWindow& protection)
        : window_(window), ept_(ept), protection_(protection) {}

    void watch(std::span<mmu::WatchRequest> pages) override;
    void unwatch(std::span<const Gfn> pages) override;
    [[nodiscard]] mmu::OwnWrites own_writes() const override { return window_.own_writes(); }

    enum class Stored : std::uint8_t { done, absent, watched };
    /// Stores within one page: words, where address and size permit.
    [[nodiscard]] Stored try_store(Gpa to, std::span<const std::byte> from);

private:
    mmu::WatchedWindow& window_;
    mmu::EptTable& ept_;
    const FakeWindow& protection_;
    Mutex mutex_{LockRank::hold};  // between a store's look at the protection and the store
};

}  // namespace penumbra::test
