// Guesses the next pages of a thread that walks memory by a fixed stride, so that one fault brings in many pages.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>

#include "base/range.hpp"

namespace penumbra::vmm {

/// Pages worth bringing in with a fault: page + stride, page + 2 * stride, ...; count 0: no guess.
struct PrefetchPlan {
    std::int64_t stride = 0;
    std::uint32_t count = 0;

    /// The n-th page of the plan, 1 to count, if it lies in the window.
    [[nodiscard]] std::optional<Hvp> page(Hvp faulted, std::uint32_t n, HvpRange window) const;
};

/// Remembers a few threads' last faults. Used by one thread at a time.
class StridePredictor {
public:
    static constexpr std::uint32_t most = 31;

    /// Notes a fault and answers what to bring along. Two equal steps in a row start a plan; every fault that lands
    /// where the last plan ended doubles it.
    [[nodiscard]] PrefetchPlan observe(pid_t thread, Hvp page);

private:
    struct Track {
        pid_t thread = 0;
        Hvp last{};
        Hvp expected{};  // where the next fault falls if the guess was right
        std::int64_t stride = 0;
        std::uint32_t count = 0;
    };
    static constexpr std::size_t tracks = 64;
    std::array<Track, tracks> tracks_{};
};

}  // namespace penumbra::vmm
