// Statistics: relaxed counters and a bounded latency histogram. Neither orders memory.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace penumbra {

class Counter {
public:
    void add(std::uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
    void sub(std::uint64_t n = 1) { value_.fetch_sub(n, std::memory_order_relaxed); }
    void raise_to(std::uint64_t n) {
        std::uint64_t now = value_.load(std::memory_order_relaxed);
        while (now < n && !value_.compare_exchange_weak(now, n, std::memory_order_relaxed)) {
        }
    }
    [[nodiscard]] std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

private:
    std::atomic<std::uint64_t> value_{0};
};

/// Latencies in nanoseconds, kept in 16 linear steps per power of two: a quantile is at most 6.25 % too high.
class LatencyHistogram {
public:
    void record(std::uint64_t ns);
    [[nodiscard]] std::uint64_t count() const;
    /// The smallest bucket bound that at least `permille` thousandths of the samples do not exceed; 0 when empty.
    [[nodiscard]] std::uint64_t quantile_ns(unsigned permille) const;
    [[nodiscard]] std::uint64_t max_ns() const { return max_.get(); }

private:
    static constexpr unsigned steps = 16;
    std::array<Counter, std::size_t{64} * steps> buckets_;
    Counter max_;
};

}  // namespace penumbra
