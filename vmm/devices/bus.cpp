#include "vmm/devices/bus.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/assert.hpp"

namespace penumbra::vmm {

void Bus::add_mmio(Gpa first, std::uint64_t bytes, Device& device) { add(mmio_, {first.value(), bytes, &device}); }

void Bus::add_ports(std::uint16_t first, std::uint16_t count, Device& device) {
    PENUMBRA_ASSERT(first + count <= 0x1'0000, "ports are numbered to 0xFFFF");
    add(ports_, {first, count, &device});
}

void Bus::add(Ranges& ranges, Range range) const {
    PENUMBRA_ASSERT(!sealed_, "devices join the bus before the guest starts");
    PENUMBRA_ASSERT(range.bytes > 0, "a device has at least one byte of registers");
    PENUMBRA_ASSERT(range.first <= std::numeric_limits<std::uint64_t>::max() - range.bytes, "device range overflows");
    const auto next = std::ranges::upper_bound(ranges, range.first, {}, &Range::first);
    const bool clear_below = next == ranges.begin() || (next - 1)->first + (next - 1)->bytes <= range.first;
    const bool clear_above = next == ranges.end() || range.first + range.bytes <= next->first;
    PENUMBRA_ASSERT(clear_below && clear_above, "two devices want the same address");
    ranges.insert(next, range);
}

const Bus::Range* Bus::find(const Ranges& ranges, std::uint64_t first, std::size_t bytes) const {
    PENUMBRA_ASSERT(sealed_, "the bus is sealed before the guest starts");
    const auto next = std::ranges::upper_bound(ranges, first, {}, &Range::first);
    if (next == ranges.begin()) return nullptr;
    const Range& range = *(next - 1);
    const std::uint64_t offset = first - range.first;
    return offset < range.bytes && bytes <= range.bytes - offset ? &range : nullptr;
}

void Bus::read(const Ranges& ranges, std::uint64_t first, std::span<std::byte> data) {
    std::uint64_t value = Device::all_ones;
    PENUMBRA_ASSERT(!data.empty() && data.size() <= sizeof(value), "an access is 1..8 bytes");
    if (const Range* range = find(ranges, first, data.size()); range != nullptr) {
        value = range->device->read(first - range->first, static_cast<unsigned>(data.size()));
    } else {
        unknown_.add();
    }
    std::memcpy(data.data(), &value, data.size());
}

void Bus::write(const Ranges& ranges, std::uint64_t first, std::span<const std::byte> data) {
    std::uint64_t value = 0;
    PENUMBRA_ASSERT(!data.empty() && data.size() <= sizeof(value), "an access is 1..8 bytes");
    std::memcpy(&value, data.data(), data.size());
    if (const Range* range = find(ranges, first, data.size()); range != nullptr) {
        range->device->write(first - range->first, static_cast<unsigned>(data.size()), value);
    } else {
        unknown_.add();
    }
}

void Bus::read_mmio(Gpa from, std::span<std::byte> data) { read(mmio_, from.value(), data); }

void Bus::write_mmio(Gpa to, std::span<const std::byte> data) { write(mmio_, to.value(), data); }

void Bus::read_port(std::uint16_t port, std::size_t size, std::span<std::byte> data) {
    PENUMBRA_ASSERT(size > 0 && data.size() % size == 0, "a port access is a whole number of items");
    for (; !data.empty(); data = data.subspan(size)) read(ports_, port, data.first(size));
}

void Bus::write_port(std::uint16_t port, std::size_t size, std::span<const std::byte> data) {
    PENUMBRA_ASSERT(size > 0 && data.size() % size == 0, "a port access is a whole number of items");
    for (; !data.empty(); data = data.subspan(size)) write(ports_, port, data.first(size));
}

}  // namespace penumbra::vmm
