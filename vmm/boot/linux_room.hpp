// Whether something fits into the guest's RAM, and the error that says how much RAM it would take.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.hpp"

namespace penumbra::vmm {

/// `what` from the file `path` needs RAM up to `end`, which is more than the guest has.
[[nodiscard]] std::unexpected<Error> no_room(const std::string& what, const std::string& path, std::uint64_t end);

/// The next multiple of `alignment` (a power of two); `value` is at most 2^63.
constexpr std::uint64_t align_up(std::uint64_t value, std::uint64_t alignment) {
    return (value + alignment - 1) & ~(alignment - 1);
}

}  // namespace penumbra::vmm
