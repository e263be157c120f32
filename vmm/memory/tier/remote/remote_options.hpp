// What a remote tier is told: which store, as whom, how much, how patient.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "base/result.hpp"

namespace penumbra::vmm {

/// Names one run of one VM on a store that many share; in every key.
struct VmId {
    std::uint64_t high = 0;
    std::uint64_t low = 0;

    /// 128 random bits from the kernel.
    [[nodiscard]] static Result<VmId> random();
};

struct RemoteTierOptions {
    std::string url;                   ///< see RemoteUrl::parse
    std::string user;                  ///< instead of the URL's
    std::string password;              ///< instead of the URL's: other users may read a command line
    std::uint64_t capacity_bytes = 0;  ///< counted in whole pages, however well they compress
    std::optional<VmId> vm;            ///< random by default
    std::chrono::milliseconds connect_timeout{2000};
    /// For all that one batch does on the network, connecting apart.
    std::chrono::milliseconds answer_timeout{5000};
    /// What a VM that ends without a word leaves behind is gone after this time. A VM that cannot reach its store for
    /// half of it may lose its pages.
    std::chrono::milliseconds expiry{std::chrono::hours{1}};
};

inline constexpr std::chrono::milliseconds shortest_expiry{1000};
inline constexpr std::chrono::milliseconds longest_expiry{std::chrono::hours{24 * 30}};

}  // namespace penumbra::vmm
