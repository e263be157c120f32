#include "vmm/memory/tier/content_index.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <unordered_map>
#include <vector>

namespace penumbra::vmm {
namespace {

/// An index with the hash of each reference, which it asks back for when it grows.
struct Indexed {
    explicit Indexed(std::uint64_t most, unsigned ref_bits) : index(std::move(*ContentIndex::create(most, ref_bits))) {}

    void insert(std::uint64_t hash, std::uint32_t ref) {
        const ContentIndex::References again = index.grow();
        for (const std::uint32_t other : again.list()) put(other);
        hashes[ref] = hash;
        put(ref);
    }
    void put(std::uint32_t ref) {
        std::optional<std::uint32_t> displaced = ref;
        for (unsigned step = 0; displaced && step < 9; ++step) {
            displaced = index.insert(ContentHash{hashes.at(*displaced)}, *displaced);
        }
    }
    void remove(std::uint32_t ref) {
        index.remove(ContentHash{hashes.at(ref)}, ref);
        hashes.erase(ref);
    }
    [[nodiscard]] bool finds(std::uint32_t ref) const {
        const ContentIndex::References found = index.find(ContentHash{hashes.at(ref)});
        return std::ranges::find(found.list(), ref) != found.list().end();
    }
    [[nodiscard]] double found_share() const {
        std::size_t found = 0;
        for (const auto& [ref, hash] : hashes) found += finds(ref) ? 1U : 0U;
        return static_cast<double>(found) / static_cast<double>(hashes.size());
    }

    ContentIndex index;
    std::unordered_map<std::uint32_t, std::uint64_t> hashes;
};

class ContentIndexTest : public ::testing::TestWithParam<unsigned> {};

TEST_P(ContentIndexTest, FindsNearlyEverythingAtEverySizeForFiveBytesABlob) {
    Indexed indexed{200'000, GetParam()};
    std::mt19937_64 random{GetParam()};
    const std::uint32_t step = GetParam() == 32 ? 20'011 : 1;
    for (std::uint32_t count = 1; count <= 60'000; ++count) {
        indexed.insert(random(), count * step);
        if (count % 5'000 != 0) continue;
        EXPECT_GT(indexed.found_share(), 0.99) << count;
        EXPECT_LE(indexed.index.resident_bytes(), count * 21 / 4 + page_bytes) << count;
    }
}

TEST_P(ContentIndexTest, FindsWhatIsThereAndNothingElseThroughGrowthAndShrinking) {
    Indexed indexed{100'000, GetParam()};
    std::mt19937_64 random{7};
    std::vector<std::uint32_t> refs;
    std::uint32_t next = 1;
    for (const std::size_t size : {std::size_t{20'000}, std::size_t{100}, std::size_t{9'000}, std::size_t{0}}) {
        while (refs.size() < size) {
            indexed.insert(random(), next);
            refs.push_back(next++);
        }
        std::ranges::shuffle(refs, random);
        for (; refs.size() > size; refs.pop_back()) {
            const ContentHash hash{indexed.hashes.at(refs.back())};
            indexed.remove(refs.back());
            const ContentIndex::References found = indexed.index.find(hash);
            ASSERT_EQ(std::ranges::find(found.list(), refs.back()), found.list().end());
        }
        if (size > 0) {
            EXPECT_GT(indexed.found_share(), 0.99) << size;
        }
    }
    EXPECT_EQ(indexed.index.blobs(), 0U);
    EXPECT_EQ(indexed.index.resident_bytes(), page_bytes) << "what it grew to is given back";
}

TEST_P(ContentIndexTest, ReplacesAReference) {
    Indexed indexed{1000, GetParam()};
    indexed.insert(0xfeedfacecafebeef, 5);
    indexed.index.replace(ContentHash{0xfeedfacecafebeef}, 5, 6);
    const ContentIndex::References found = indexed.index.find(ContentHash{0xfeedfacecafebeef});
    ASSERT_EQ(found.count, 1U);
    EXPECT_EQ(found.refs[0], 6U);
    indexed.index.replace(ContentHash{0xfeedfacecafebeef}, 5, 7);
    EXPECT_EQ(indexed.index.find(ContentHash{0xfeedfacecafebeef}).refs[0], 6U) << "5 was not there any more";
}

INSTANTIATE_TEST_SUITE_P(ReferenceBits, ContentIndexTest, ::testing::Values(17U, 24U, 32U));

TEST(ContentIndex, NeverTakesMoreThanItsMost) {
    Indexed indexed{1000, 24};
    std::mt19937_64 random{1};
    for (std::uint32_t ref = 0; ref < 20'000; ++ref) indexed.insert(random(), ref);
    EXPECT_LE(indexed.index.resident_bytes(), 2 * page_bytes);
    EXPECT_LE(indexed.index.blobs() * sizeof(std::uint32_t), indexed.index.resident_bytes());
}

}  // namespace
}  // namespace penumbra::vmm
