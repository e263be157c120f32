// `penumbra doctor`: what the facts about a host mean for Penumbra, and what to do about each lack.
#pragma once

#include <string>
#include <vector>

#include "vmm/control/host_facts.hpp"
#include "vmm/control/terminal.hpp"

namespace penumbra::vmm {

enum class Standing : std::uint8_t { ok, limited, missing };

struct Finding {
    std::string item;
    Standing standing = Standing::ok;
    std::string found{};  ///< what the host has
    std::string means{};  ///< what that means for Penumbra
    std::string cure{};   ///< empty when all is well
};

struct Diagnosis {
    std::vector<Finding> findings;
    bool can_run = false;  ///< `penumbra run` works with KVM
};

[[nodiscard]] Diagnosis diagnose(const HostFacts& facts);

/// Names of the features in a userfaultfd mask, in bit order, separated by spaces.
[[nodiscard]] std::string feature_names(std::uint64_t features);

[[nodiscard]] std::string doctor_table(const Diagnosis& diagnosis, Colour colour);
[[nodiscard]] std::string doctor_json(const Diagnosis& diagnosis, const HostFacts& facts);

}  // namespace penumbra::vmm
