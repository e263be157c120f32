// What is done to stored pages by their keys alone: taken off the store, and kept from expiring. Called by one thread
// at a time for each link.
#pragma once

#include <chrono>
#include <cstdint>

#include "vmm/memory/tier/remote/link.hpp"
#include "vmm/memory/tier/remote/slot_book.hpp"

namespace penumbra::vmm {

inline constexpr std::size_t keys_per_batch = 512;

struct TakenOff {
    std::size_t tried = 0;
    std::size_t gone = 0;
};
/// Takes up to keys_per_batch leaving pages off the store. Those that it did not confirm stay leaving.
[[nodiscard]] TakenOff take_off(Link& link, SlotBook& book, const PageKeys& keys);

/// Puts off the expiry of the next stored pages from `cursor` on, which moves behind them unless the store failed:
/// false then.
[[nodiscard]] bool renew(Link& link, SlotBook& book, const PageKeys& keys, RemoteStatus& status,
                         std::chrono::milliseconds expiry, std::uint64_t& cursor);

}  // namespace penumbra::vmm
