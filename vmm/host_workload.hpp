// The freestanding workload on a host thread that plays a vCPU: the same memory, bus and devices, no KVM.
#pragma once

#include <cstdint>
#include <functional>

#include "guest-images/common/machine_abi.hpp"
#include "vmm/devices/bus.hpp"
#include "vmm/memory/memory_system.hpp"
#include "vmm/payload.hpp"

namespace penumbra::vmm {

struct HostWorkload {
    MemorySystem& memory;
    Bus& bus;
    const Payload& payload;
    abi::BootInfo boot;
    std::uint32_t cpu;
    const std::function<bool()>& stopped;  ///< asked often
};

/// On a thread registered as a vCPU. Returns when the workload has ended, or soon after `stopped` says so.
void play_workload(const HostWorkload& workload);

}  // namespace penumbra::vmm
