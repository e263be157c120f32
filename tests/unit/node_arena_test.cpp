#include "shadow-mmu/table/node_arena.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <span>

namespace penumbra::mmu {
namespace {

TEST(NodeArena, HandsOutDistinctZeroedPagesUntilUsedUp) {
    Result<NodeArena> arena = NodeArena::create(3);
    ASSERT_TRUE(arena);
    std::set<std::uint64_t> nodes;
    for (std::uint64_t i = 1; i <= 3; ++i) {
        const auto node = arena->allocate();
        ASSERT_TRUE(node);
        const std::span bytes{pointer_to(*node), page_bytes};
        EXPECT_TRUE(std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; }));
        nodes.insert(node->value());
        EXPECT_EQ(arena->allocated(), i);
    }
    EXPECT_EQ(nodes.size(), 3U);
    EXPECT_FALSE(arena->allocate());
    arena->give_back(Hvp{*nodes.begin()});
    EXPECT_EQ(arena->allocated(), 2U);
    EXPECT_EQ(arena->allocate(), Hvp{*nodes.begin()});
    EXPECT_FALSE(arena->allocate());
}

TEST(NodeArena, SizesATableForItsPages) {
    // One page needs one node per level; a range may straddle one more at each.
    EXPECT_EQ(NodeArena::nodes_for(1), 8U);
    // 1 GiB: 512 leaf nodes, one above them, and the straddles.
    EXPECT_EQ(NodeArena::nodes_for(512 * 512), 512U + 1 + 8);
}

}  // namespace
}  // namespace penumbra::mmu
