// The two KVM structures that end in a flexible array. C++ gives the kernel headers' declarations of those another
// layout and size than C does (and with the size, another ioctl number), so both are spelled out here. Only for
// vmm/kvm's sources.
#pragma once

#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <array>
#include <cstdint>

namespace penumbra::vmm::kvm_layout {

struct CpuidHeader {
    std::uint32_t entries;
    std::uint32_t padding;
};
struct CpuidTable {
    CpuidHeader header;
    std::array<kvm_cpuid_entry2, 256> entries;
};
static_assert(sizeof(CpuidTable) == sizeof(CpuidHeader) + 256 * sizeof(kvm_cpuid_entry2));

struct SignalMask {
    std::uint32_t bytes;
    std::array<std::uint8_t, 8> set;  // the kernel's sigset_t; the C library's is longer
};
static_assert(sizeof(SignalMask) == 12);

inline constexpr unsigned long get_supported_cpuid = _IOWR(KVMIO, 0x05, CpuidHeader);
inline constexpr unsigned long set_cpuid = _IOW(KVMIO, 0x90, CpuidHeader);
inline constexpr unsigned long set_signal_mask = _IOW(KVMIO, 0x8b, std::uint32_t);

}  // namespace penumbra::vmm::kvm_layout
