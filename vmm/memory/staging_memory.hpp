// The memory behind limbo's slots, as the reclaimer changes it.
#pragma once

#include "base/range.hpp"

namespace penumbra::vmm {

/// Thread-safe.
class StagingMemory {
public:
    virtual ~StagingMemory() = default;
    /// Gives slots' memory back; their content is not needed any more.
    virtual void empty_slots(HvpRange slots) = 0;
};

}  // namespace penumbra::vmm
