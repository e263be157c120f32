// The KVM structures that end in a flexible array. C++ gives the kernel headers' declarations of those another
// layout and size than C does (and with the size, another ioctl number), so they are spelled out here. Only for
// vmm/kvm's sources.
#pragma once

#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <array>
#include <cstddef>
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

struct MsrHeader {
    std::uint32_t entries;
    std::uint32_t padding;
};
inline constexpr std::size_t msr_batch = 256;
struct MsrTable {
    MsrHeader header;
    std::array<kvm_msr_entry, msr_batch> entries;
};
static_assert(sizeof(MsrTable) == sizeof(MsrHeader) + msr_batch * sizeof(kvm_msr_entry));

struct MsrList {
    std::uint32_t entries;
    std::array<std::uint32_t, 1024> indices;
};
static_assert(sizeof(MsrList) == 1025 * sizeof(std::uint32_t));

inline constexpr std::size_t xsave_bytes = 4096;
using XsaveArea = std::array<std::byte, xsave_bytes>;

inline constexpr unsigned long get_msr_list = _IOWR(KVMIO, 0x02, std::uint32_t);
inline constexpr unsigned long get_msrs = _IOWR(KVMIO, 0x88, MsrHeader);
inline constexpr unsigned long set_msrs = _IOW(KVMIO, 0x89, MsrHeader);
inline constexpr unsigned long get_xsave = _IOR(KVMIO, 0xa4, XsaveArea);
inline constexpr unsigned long set_xsave = _IOW(KVMIO, 0xa5, XsaveArea);
inline constexpr unsigned long get_supported_cpuid = _IOWR(KVMIO, 0x05, CpuidHeader);
inline constexpr unsigned long set_cpuid = _IOW(KVMIO, 0x90, CpuidHeader);
inline constexpr unsigned long set_signal_mask = _IOW(KVMIO, 0x8b, std::uint32_t);

}  // namespace penumbra::vmm::kvm_layout
