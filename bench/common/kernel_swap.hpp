// The kernel's own compressed swap: a zram device of the benchmark's, in use as long as the object lives.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"

namespace penumbra::bench {

class ZramSwap {
public:
    /// Compressors that zram knows here, of those that are compared.
    [[nodiscard]] static Result<std::vector<std::string>> compressors();
    /// A new device of that size, swapped on above all others. Needs root.
    [[nodiscard]] static Result<ZramSwap> create(const std::string& compressor, std::uint64_t bytes);
    ZramSwap(ZramSwap&& other) noexcept
        : number_(std::exchange(other.number_, {})), on_(std::exchange(other.on_, false)) {}
    ZramSwap& operator=(ZramSwap&&) = delete;
    /// Whose pages are in it should have ended: they are all brought back.
    ~ZramSwap();

    /// Most memory that the device has used, in bytes: what it stored, and what is lost between.
    [[nodiscard]] Result<std::uint64_t> pool_peak() const;

private:
    ZramSwap() = default;
    [[nodiscard]] static Result<ZramSwap> add();
    [[nodiscard]] Result<> swap_on(std::uint64_t bytes);
    [[nodiscard]] std::string device() const { return "/dev/zram" + number_; }
    [[nodiscard]] std::string attribute(const char* name) const { return "/sys/block/zram" + number_ + "/" + name; }

    std::string number_;  // empty once moved from
    bool on_ = false;
};

}  // namespace penumbra::bench
