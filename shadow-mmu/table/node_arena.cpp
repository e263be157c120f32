#include "shadow-mmu/table/node_arena.hpp"

#include "base/page_size.hpp"
#include "base/planted.hpp"

namespace penumbra::mmu {

Result<NodeArena> NodeArena::create(std::uint64_t nodes) {
    PENUMBRA_TRY_ASSIGN(MappedRegion region, MappedRegion::anonymous(nodes * page_bytes));
    return NodeArena{std::move(region)};
}

std::uint64_t NodeArena::nodes_for(std::uint64_t pages) {
    std::uint64_t total = 0;
    std::uint64_t spanned = 1;
    for (unsigned level = 1; level <= static_cast<unsigned>(Level::top_4); ++level) {
        spanned *= entries_per_node;
        total += pages / spanned + 2;  // a range that is not aligned straddles one more
    }
    return total;
}

std::optional<Hvp> NodeArena::allocate() {
    const MutexLock lock(*mutex_);
    if (!spare_.empty()) {
        const Hvp node = spare_.back();
        spare_.pop_back();
        return node;
    }
    if (next_ == region_.pages().pages()) return std::nullopt;
    return region_.pages().first() + (planted(Plant::node_handed_out_twice) ? next_ : next_++);
}

void NodeArena::give_back(Hvp node) {
    const MutexLock lock(*mutex_);
    spare_.push_back(node);
}

std::uint64_t NodeArena::allocated() const {
    const MutexLock lock(*mutex_);
    return next_ - spare_.size();
}

}  // namespace penumbra::mmu
