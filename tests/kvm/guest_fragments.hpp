// A small machine on the real /dev/kvm and hand-written guest code for it: plain memory, no pager, no bus.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/mapped_region.hpp"
#include "guest-images/common/machine_abi.hpp"
#include "vmm/boot/address_layout.hpp"
#include "vmm/kvm/kvm.hpp"
#include "vmm/kvm/vcpu.hpp"
#include "vmm/kvm/vm.hpp"

namespace penumbra::vmm::test {

/// Pieces of guest code; each says what it does with the registers it is started with.
enum class Fragment : std::uint8_t {
    store,        ///< [rcx] = rdx (64 bits), then spins
    load,         ///< rdx = [rcx] (64 bits), [guest port console] = rdx, then spins
    port_out,     ///< out dl to port 0x3f8, then in from 0x3fd, [guest port exit] = al, then spins
    port_string,  ///< rep outsb of rcx bytes from rsi to port 0x3f8, then spins
    spin,         ///< spins
    halt,         ///< hlt
    popcount,     ///< popcnt rdx, rdx; then as store
    undefined,    ///< ud2
    count_ticks,  ///< [guest port console] = rdtsc, then spins
    sweep,        ///< increments a word per page of [rsi, rdi) rcx times, then [guest port exit] = rcx, then spins
};

struct Start {
    Fragment fragment;
    abi::Ring ring = abi::Ring::kernel;
    std::uint64_t rcx = 0, rdx = 0, rsi = 0, rdi = 0;
    std::uint64_t user_flags = 2;  ///< RFLAGS in ring 3
};

/// 64 MiB and two vCPUs. An exception in ring 3 arrives as a store of its vector to the guest port's trap register.
class FragmentMachine {
public:
    static constexpr std::uint64_t ram_bytes = 64ULL << 20;

    [[nodiscard]] static Result<std::unique_ptr<FragmentMachine>> create();

    [[nodiscard]] Vcpu& vcpu(std::uint32_t index) { return *vcpus_.at(index); }
    [[nodiscard]] Vm& vm() { return *vm_; }
    [[nodiscard]] std::byte* ram() { return ram_.data(); }
    /// (Re)starts a vCPU that no thread runs; what it was about to do is forgotten.
    [[nodiscard]] Result<> start(std::uint32_t cpu, const Start& start);

private:
    FragmentMachine() = default;
    [[nodiscard]] Result<> build();
    void write_descriptor_tables();

    MappedRegion ram_;
    std::optional<Vm> vm_;
    std::vector<std::unique_ptr<Vcpu>> vcpus_;
};

}  // namespace penumbra::vmm::test
