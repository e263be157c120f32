// What an image's code stands on: the entry it defines, MMIO, and the instructions a waiting vCPU needs.
// Freestanding. Nothing here allocates, and every function may be called in ring 0 and in ring 3.
#pragma once

#include <cstdint>

#include "guest-images/common/machine_abi.hpp"

/// Defined by each image; runs on every vCPU, in the ring that BootInfo names, on that vCPU's 4 KiB boot stack.
/// A vCPU that comes back from it pauses for ever.
extern "C" void image_main(const penumbra::abi::BootInfo* boot, std::uint64_t cpu);

namespace penumbra::guest {

/// One plain 64-bit load: the form every KVM can finish.
inline std::uint64_t mmio_read(std::uint64_t gpa) {
    std::uint64_t value;
    asm volatile("movq (%1), %0" : "=r"(value) : "r"(gpa) : "memory");
    return value;
}
inline void mmio_write(std::uint64_t gpa, std::uint64_t value) {
    asm volatile("movq %0, (%1)" : : "r"(value), "r"(gpa) : "memory");
}

inline std::uint64_t port_read(abi::Port port) {
    return mmio_read(abi::guest_port_base + static_cast<std::uint64_t>(port));
}
inline void port_write(abi::Port port, std::uint64_t value) {
    mmio_write(abi::guest_port_base + static_cast<std::uint64_t>(port), value);
}

inline void cpu_relax() { asm volatile("pause" : : : "memory"); }

}  // namespace penumbra::guest
