// What a device table flushes: caches of its translations.
#pragma once

#include <span>

#include "base/range.hpp"

namespace penumbra::mmu {

class Tlb {
public:
    virtual ~Tlb() = default;
    /// On return none of the ranges' translations is cached, and none that was read from the table before the call will
    /// be.
    virtual void flush(std::span<const GfnRange> ranges) = 0;
    virtual void flush_all() = 0;
};

}  // namespace penumbra::mmu
