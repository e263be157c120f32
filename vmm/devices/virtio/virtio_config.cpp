#include "vmm/devices/virtio/virtio_config.hpp"

#include <algorithm>

#include "base/assert.hpp"

namespace penumbra::vmm {

VirtioConfig::VirtioConfig(std::vector<std::byte> initial, std::vector<std::byte> writable)
    : size_(initial.size()), initial_(std::move(initial)), writable_(std::move(writable)), bytes_(initial_) {
    PENUMBRA_ASSERT(writable_.size() <= size_, "writable bytes lie inside the configuration space");
}

std::uint64_t VirtioConfig::read(std::uint64_t offset, unsigned bytes) const {
    const MutexLock lock(mutex_);
    std::uint64_t value = 0;
    for (unsigned i = 0; i < bytes && offset < size_ && i < size_ - offset; ++i) {
        value |= static_cast<std::uint64_t>(bytes_[offset + i]) << (8 * i);
    }
    return value;
}

VirtioConfig::Written VirtioConfig::write(std::uint64_t offset, unsigned bytes, std::uint64_t value) {
    const MutexLock lock(mutex_);
    Written written = Written::nothing;
    for (unsigned i = 0; i < bytes && offset < writable_.size() && i < writable_.size() - offset; ++i) {
        std::byte& at = bytes_[offset + i];
        const std::byte mask = writable_[offset + i];
        const std::byte next = (at & ~mask) | (static_cast<std::byte>(value >> (8 * i)) & mask);
        if (next != at) written = Written::something;
        at = next;
    }
    return written;
}

void VirtioConfig::set(std::size_t offset, std::span<const std::byte> bytes) {
    PENUMBRA_ASSERT(offset <= size_ && bytes.size() <= size_ - offset, "the device knows its configuration's size");
    const MutexLock lock(mutex_);
    std::ranges::copy(bytes, bytes_.begin() + static_cast<std::ptrdiff_t>(offset));
    ++generation_;
}

std::vector<std::byte> VirtioConfig::bytes() const {
    const MutexLock lock(mutex_);
    return bytes_;
}

std::uint32_t VirtioConfig::generation() const {
    const MutexLock lock(mutex_);
    return generation_;
}

void VirtioConfig::reset_writable() {
    const MutexLock lock(mutex_);
    for (std::size_t i = 0; i < writable_.size(); ++i) {
        bytes_[i] = (bytes_[i] & ~writable_[i]) | (initial_[i] & writable_[i]);
    }
}

}  // namespace penumbra::vmm
