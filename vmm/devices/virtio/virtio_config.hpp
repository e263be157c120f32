// A device's own configuration space: read and written by vCPU threads, changed by the device (Virtual I/O Device 1.2,
// 2.5).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/mutex.hpp"

namespace penumbra::vmm {

/// Thread-safe. Offsets and sizes come from the guest: what lies outside reads zero and swallows writes.
class VirtioConfig {
public:
    /// `initial` as it stands in the space, little-endian; `writable` marks the bytes that the driver may write
    /// (all-ones bytes), and may be shorter.
    explicit VirtioConfig(std::vector<std::byte> initial = {}, std::vector<std::byte> writable = {});

    [[nodiscard]] std::uint64_t read(std::uint64_t offset, unsigned bytes) const;
    enum class Written : std::uint8_t { nothing, something };
    /// By the driver. `something`: a byte has another value now.
    Written write(std::uint64_t offset, unsigned bytes, std::uint64_t value);

    /// By the device; the generation grows. Asserts that the bytes are inside. The device then tells its driver
    /// (VirtioDevice::config_changed).
    void set(std::size_t offset, std::span<const std::byte> bytes);
    [[nodiscard]] std::vector<std::byte> bytes() const;
    /// Grows with every set(): a driver that reads several fields reads them between two equal generations.
    [[nodiscard]] std::uint32_t generation() const;
    [[nodiscard]] std::size_t size() const { return size_; }
    /// To what it was at first.
    void reset_writable();

private:
    const std::size_t size_;
    const std::vector<std::byte> initial_;
    const std::vector<std::byte> writable_;
    mutable Mutex mutex_{LockRank::leaf};
    std::vector<std::byte> bytes_ GUARDED_BY(mutex_);
    std::uint32_t generation_ GUARDED_BY(mutex_) = 0;
};

}  // namespace penumbra::vmm
