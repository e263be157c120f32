// Table pages, 4 KiB each, from one reservation: nothing is wasted beside the pages a table really has.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/mapped_region.hpp"
#include "base/mutex.hpp"

namespace penumbra::mmu {

/// Thread-safe. Pages are zero when handed out and go back to the kernel with the arena.
class NodeArena {
public:
    /// Room for `nodes` table pages; only those handed out take memory.
    [[nodiscard]] static Result<NodeArena> create(std::uint64_t nodes);
    /// Table pages that a table of 4 KiB leaves over `pages` pages of contiguous address space needs at most.
    [[nodiscard]] static std::uint64_t nodes_for(std::uint64_t pages);

    /// A zeroed table page, or nullopt when the arena is used up.
    [[nodiscard]] std::optional<Hvp> allocate() EXCLUDES(*mutex_);
    /// Takes back a page that no walker can have seen; it must be all zero again.
    void give_back(Hvp node) EXCLUDES(*mutex_);
    [[nodiscard]] std::uint64_t allocated() const EXCLUDES(*mutex_);

private:
    explicit NodeArena(MappedRegion region)
        : region_(std::move(region)), mutex_(std::make_unique<Mutex>(LockRank::leaf)) {}

    MappedRegion region_;
    std::unique_ptr<Mutex> mutex_;
    std::uint64_t next_ GUARDED_BY(*mutex_) = 0;
    std::vector<Hvp> spare_ GUARDED_BY(*mutex_);
};

}  // namespace penumbra::mmu
