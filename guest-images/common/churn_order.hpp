// The orders in which churn walks a vCPU's own pages [0, n). Each is a small generator: next() is the page to visit.
#pragma once

#include <cstdint>

#include "guest-images/common/rng.hpp"

namespace penumbra::guest {

/// The smallest number from `wish` on that shares no factor with n, so that steps of it reach every page.
constexpr std::uint64_t coprime_from(std::uint64_t wish, std::uint64_t n) {
    for (;; ++wish) {
        std::uint64_t a = wish;
        std::uint64_t b = n;
        while (b != 0) {
            const std::uint64_t rest = a % b;
            a = b;
            b = rest;
        }
        if (a == 1) return wish;
    }
}

class SequentialOrder {
public:
    std::uint64_t next() { return at_++; }

private:
    std::uint64_t at_ = 0;
};

/// Every page once, each about 4 MiB from the one before: out of reach of any prefetch of neighbours.
class StridedOrder {
public:
    explicit StridedOrder(std::uint64_t n) : n_(n), stride_(coprime_from(1021, n) % n) {}
    std::uint64_t next() {
        const std::uint64_t now = at_;
        at_ = (at_ + stride_) % n_;
        return now;
    }

private:
    std::uint64_t n_;
    std::uint64_t stride_;
    std::uint64_t at_ = 0;
};

class UniformOrder {
public:
    UniformOrder(std::uint64_t n, std::uint64_t seed) : n_(n), random_(seed) {}
    std::uint64_t next() { return random_.below(n_); }

private:
    std::uint64_t n_;
    Random random_;
};

/// Zipf's law with exponent 0.9 in its continuous form: ranks have density x^-0.9 over [1, n + 1), so a uniform u gives
/// the rank (1 + u * ((n + 1)^0.1 - 1))^10. The ranks are scattered over the pages.
class ZipfOrder {
public:
    ZipfOrder(std::uint64_t n, std::uint64_t seed)
        : n_(n),
          spread_(tenth_root(static_cast<double>(n) + 1.0) - 1.0),
          scatter_(coprime_from(n / 2 + n / 8, n)),
          offset_(mix(seed) % n),
          random_(seed) {}

    std::uint64_t next() {
        const double rank = tenth_power(1.0 + random_.unit() * spread_) - 1.0;
        std::uint64_t index = static_cast<std::uint64_t>(rank);
        if (index >= n_) index = n_ - 1;  // rounding at the far end
        return (index * scatter_ + offset_) % n_;
    }

private:
    static constexpr double tenth_power(double x) {
        const double squared = x * x;
        const double fourth = squared * squared;
        return fourth * fourth * squared;
    }
    static constexpr double tenth_root(double x) {
        double low = 1.0;
        double high = x;
        for (int i = 0; i < 100; ++i) {
            const double middle = (low + high) / 2;
            (tenth_power(middle) < x ? low : high) = middle;
        }
        return high;
    }

    std::uint64_t n_;
    double spread_;
    std::uint64_t scatter_;
    std::uint64_t offset_;
    Random random_;
};

}  // namespace penumbra::guest
