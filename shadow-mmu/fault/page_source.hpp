// Where a fault gets its page from. The interface is owned here; the pager implements it for the window, and the window
// itself, seen through EptTable, is the source of the device tables.
#pragma once

#include <cstdint>
#include <optional>

#include "base/address.hpp"
#include "base/result.hpp"
#include "shadow-mmu/fault/fault.hpp"
#include "shadow-mmu/flush/window_port.hpp"

namespace penumbra::mmu {

/// What resolve() found. The fields belong to the source; a table only passes them back.
struct ResolvedPage {
    Content content;
    std::uint64_t ticket = 0;
    FaultAccess access = FaultAccess::read;
    bool committed = false;
};

enum class Conclusion : std::uint8_t { installed, abandoned };

/// Thread-safe. For one fault the calls are resolve, then commit at most once, then conclude exactly once, on one
/// thread.
class PageSource {
public:
    virtual ~PageSource() = default;

    /// Finds the page. Called with no lock held; may sleep (memory budget, disk). An error means that nobody can supply
    /// the page now: the machine must stop, nothing may be guessed.
    [[nodiscard]] virtual Result<ResolvedPage> resolve(Hvp page, FaultAccess access) = 0;
    /// The entry is claimed and no invalidation intervened: last chance to say that the page was moved to another tier
    /// since. May not sleep. nullopt: resolve again.
    [[nodiscard]] virtual std::optional<Content> commit(Hvp page, ResolvedPage& resolved) = 0;
    /// Takes back what resolve and commit reserved. After `abandoned` the page is as it was before resolve.
    virtual void conclude(Hvp page, ResolvedPage& resolved, Conclusion conclusion) = 0;
};

}  // namespace penumbra::mmu
