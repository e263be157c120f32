// Model-specific registers of a vCPU, in bulk. Only for vmm/kvm's sources.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.hpp"

namespace penumbra::vmm::msr {

struct Value {
    std::uint32_t index = 0;
    std::uint64_t value = 0;

    friend bool operator==(const Value&, const Value&) = default;
};

/// The values of those of `indices` that the vCPU has, in their order.
[[nodiscard]] Result<std::vector<Value>> read(int vcpu_fd, std::span<const std::uint32_t> indices);
/// Sets the values in order; returns those that KVM refused.
[[nodiscard]] Result<std::vector<Value>> write(int vcpu_fd, std::span<const Value> values);

}  // namespace penumbra::vmm::msr
