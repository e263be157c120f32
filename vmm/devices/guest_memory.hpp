// Guest memory as devices see it.
#pragma once

#include <cstddef>
#include <span>

#include "base/address.hpp"
#include "base/result.hpp"

namespace penumbra::vmm {

/// Guest-physical reads and writes for device models. Thread-safe. A call may wait until pages are back in memory, so
/// no lock may be held across it. The range may cross pages; what another vCPU does meanwhile may show in part. Fails
/// when any byte of the range is not RAM, or when its page cannot be brought back.
class GuestMemory {
public:
    virtual ~GuestMemory() = default;
    [[nodiscard]] virtual Result<> read(Gpa from, std::span<std::byte> to) = 0;
    [[nodiscard]] virtual Result<> write(Gpa to, std::span<const std::byte> from) = 0;
};

}  // namespace penumbra::vmm
