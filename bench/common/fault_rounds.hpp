// The order of touches of a latency benchmark: rounds over all backings at once, so that whatever disturbs the machine
// hits each of them alike. A round draws pages at random for every backing, prepares them, and has them touched in
// random order.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include "bench/common/backing.hpp"
#include "bench/common/cpu_time.hpp"
#include "guest-images/common/machine_abi.hpp"
#include "vmm/devices/guest_port.hpp"

namespace penumbra::bench {

/// What was measured over one backing by one kind of accessor.
struct Samples {
    std::vector<std::uint64_t> ticks;
    CpuTime cpu;  ///< of the whole process, from right before each touch to right after it
};

struct RoundsPlan {
    std::uint32_t population = 0;  ///< page numbers to draw from
    std::uint32_t per_round = 64;  ///< pages of each backing
    std::uint32_t rounds = 40;     ///< after one for warming up, which is not counted
    std::uint64_t seed = 1;
};

/// One thread at a time. As a TouchSource it has a guest do the touching.
class FaultRounds final : public vmm::TouchSource {
public:
    FaultRounds(std::span<const std::unique_ptr<Backing>> backings, const RoundsPlan& plan,
                const DecompressionProbe& probe);

    struct Order {
        const Backing* backing;
        std::uint32_t page;
        abi::TouchKind kind;
    };
    /// The next touch, prepared; empty at the end or after an error.
    [[nodiscard]] std::optional<Order> next_order();
    void record(std::uint64_t ticks);
    /// The calling thread touches everything itself, as a stand-in for a vCPU: it must be registered as one.
    [[nodiscard]] Result<> touch_from_host();

    [[nodiscard]] std::optional<Touch> next(std::uint32_t cpu) override;
    void touched(std::uint32_t cpu, std::uint64_t ticks) override;

    [[nodiscard]] const Result<>& outcome() const { return outcome_; }
    /// In the order of the backings.
    [[nodiscard]] const std::vector<Samples>& samples() const { return samples_; }
    [[nodiscard]] const std::vector<std::uint64_t>& decompression_ticks() const { return decompression_; }

private:
    struct Planned {
        std::uint32_t backing;
        std::uint32_t page;
    };
    [[nodiscard]] Result<> begin_round();

    std::span<const std::unique_ptr<Backing>> backings_;
    const RoundsPlan plan_;
    const DecompressionProbe& probe_;
    std::mt19937_64 random_;
    std::vector<Planned> orders_;
    std::size_t at_ = 0;
    std::uint32_t round_ = 0;
    CpuTime start_;
    std::vector<Samples> samples_;
    std::vector<std::uint64_t> decompression_;
    Result<> outcome_;
};

}  // namespace penumbra::bench
