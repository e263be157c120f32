// How the window of guest memory is changed: by EptTable, and for watches by WatchedWindow. Implemented in vmm/memory
// over the one userfaultfd wrapper. KVM's own MMU notifier stops vCPUs inside take_out and drop: when they return no
// vCPU reaches the range.
#pragma once

#include <cstddef>

#include "base/range.hpp"
#include "base/result.hpp"

namespace penumbra::mmu {

/// Where the content of a page that goes in comes from.
struct Content {
    enum class Kind : unsigned char {
        zero,  ///< all zero; `source` unused
        copy,  ///< copied from the page at `source`
    };
    Kind kind = Kind::zero;
    Hva source{};
};

/// Thread-safe. No lock may be held by the caller that a fault worker needs.
class WindowPort {
public:
    virtual ~WindowPort() = default;

    /// Makes the absent page present with that content, atomically, and wakes whoever sleeps on it. An error (no
    /// memory, the kernel refuses) changes nothing.
    [[nodiscard]] virtual Result<> put_in(Hvp page, Content content) = 0;
    /// Moves pages out of the window into the staging slots from `staging` on, in order. Returns how many were taken
    /// from the front of `run`; the page after them cannot be taken now. All pages of the run are present.
    [[nodiscard]] virtual std::size_t take_out(HvpRange run, Hvp staging) = 0;
    /// Drops the pages and their content.
    virtual void drop(HvpRange run) = 0;
    /// Makes every thread that sleeps on a fault in the range fault again.
    virtual void wake(HvpRange run) = 0;

    /// Makes writes to the pages sleep: when it returns no processor, guest's or host's, writes to them by a
    /// translation that it still has, and what was written is visible. Writes of I/O that pinned a page before go
    /// through. All pages of the run are present and stay so meanwhile. A page that leaves and comes back is not
    /// protected. After an error part of the run may be: unprotect it.
    [[nodiscard]] virtual Result<> protect(HvpRange run) = 0;
    /// Lets writes through, and wakes who sleeps. Whatever the pages' state: of pages that are being taken out just now
    /// nothing is changed, and nobody is woken.
    virtual void unprotect(HvpRange run) = 0;
};

}  // namespace penumbra::mmu
