// Pages that are alike, in compressed memory.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "base/planted.hpp"
#include "tests/support/library_pages.hpp"
#include "vmm/memory/tier/compressed_tier.hpp"
#include "vmm/memory/tier/page_check.hpp"

namespace penumbra::vmm {
namespace {

using test::Page;

constexpr std::uint64_t megabyte = 1 << 20;

CompressedTier make_tier(Codec codec = Codec::lz4) { return std::move(*CompressedTier::create(64 * megabyte, codec)); }

StoreHandle put(CompressedTier& tier, const PageIdentity& identity, const Page& page) {
    const auto handle = tier.store(identity, page, Incompressible::store_raw);
    EXPECT_TRUE(handle.has_value());
    return *handle;
}

bool loads(const CompressedTier& tier, StoreHandle handle, const PageOwner& owner, const Page& page) {
    Page out{};
    return tier.load(handle, owner, out).has_value() && out == page;
}

Page filled_page(std::uint64_t fill) {
    Page page{};
    for (std::size_t at = 0; at < page.size(); at += sizeof fill) std::memcpy(page.data() + at, &fill, sizeof fill);
    return page;
}

class SharingTest : public ::testing::TestWithParam<Codec> {};

TEST_P(SharingTest, PagesThatAreAllAlikeInsideCostAHeaderAndEightBytes) {
    CompressedTier tier = make_tier(GetParam());
    std::vector<StoreHandle> handles;
    constexpr std::uint64_t count = 1700;
    for (std::uint64_t i = 0; i < count; ++i) handles.push_back(put(tier, {1, i, i}, filled_page(i * 0x0101)));
    EXPECT_LE(tier.charged_bytes(), count * 25 + 2 * page_bytes);
    for (std::uint64_t i = 0; i < count; ++i) {
        EXPECT_TRUE(loads(tier, handles[i], {1, i}, filled_page(i * 0x0101)));
        EXPECT_TRUE(tier.matches(handles[i], {1, i}, filled_page(i * 0x0101)));
    }
}

TEST_P(SharingTest, DuplicatesAreStoredOnceAndCostAHeaderAndEightBytes) {
    CompressedTier tier = make_tier(GetParam());
    const auto pages = test::library_pages(64);
    std::vector<StoreItem> items;
    for (std::uint64_t i = 0; i < 6400; ++i) items.push_back({{1, i, i * 3}, pages[i % 64].data()});
    std::vector<StoreOutcome> outcomes(items.size());
    tier.store_batch(items, outcomes, Incompressible::store_raw);
    EXPECT_EQ(tier.pages(), items.size());
    EXPECT_EQ(tier.duplicates(), items.size() - 64);
    EXPECT_LE(tier.charged_bytes(), 64 * page_bytes + items.size() * 25 + 50 * page_bytes);
    for (std::uint64_t i = 0; i < items.size(); ++i) {
        const StoreHandle handle = outcomes[i].handle;
        EXPECT_LT(static_cast<std::uint64_t>(handle) >> store_handle_bits, 1U);
        ASSERT_TRUE(loads(tier, handle, {1, i}, pages[i % 64]));
        EXPECT_TRUE(tier.matches(handle, {1, i}, pages[i % 64]));
        EXPECT_FALSE(tier.matches(handle, {1, i + 64}, pages[i % 64]));
    }
    std::mt19937 random{5};
    std::ranges::shuffle(outcomes, random);
    for (const StoreOutcome& outcome : outcomes) tier.drop(outcome.handle);
    EXPECT_EQ(tier.pages(), 0U);
    EXPECT_EQ(tier.duplicates(), 0U);
    EXPECT_LE(tier.charged_bytes(), 20 * page_bytes) << "the blobs went with their last page";
}

TEST_P(SharingTest, TwinsOfOneBatchAreStoredOnce) {
    CompressedTier tier = make_tier(GetParam());
    const Page page = test::library_pages(64)[20];
    const Page noise = test::noise_page(1);
    const std::array<StoreItem, 6> items{{{{1, 0, 0}, page.data()},
                                          {{1, 1, 0}, page.data()},
                                          {{1, 2, 0}, noise.data()},
                                          {{1, 3, 0}, page.data()},
                                          {{1, 4, 0}, noise.data()},
                                          {{1, 5, 0}, noise.data()}}};
    std::array<StoreOutcome, 6> outcomes;
    tier.store_batch(items, outcomes, Incompressible::refuse);
    EXPECT_EQ(tier.duplicates(), 2U);
    for (const std::size_t i : {2U, 4U, 5U}) EXPECT_EQ(outcomes[i].failure, StoreFailure::incompressible);
    for (const std::size_t i : {0U, 1U, 3U}) EXPECT_TRUE(loads(tier, outcomes[i].handle, {1, i}, page));
}

TEST_P(SharingTest, EachOwnerGoesWhenItLikes) {
    const Page page = test::library_pages(64)[20];
    // Who is dropped first, second, ...: of the page that brought the blob, its anchor and two other duplicates.
    std::array<std::size_t, 4> order{0, 1, 2, 3};
    do {
        CompressedTier tier = make_tier(GetParam());
        std::array<StoreHandle, 4> handles;
        for (std::uint64_t i = 0; i < 4; ++i) handles[i] = put(tier, {1, i, i}, page);
        for (std::ptrdiff_t gone = 0; gone < 4; ++gone) {
            const auto left = order.begin() + gone;
            tier.drop(handles[*left]);
            EXPECT_FALSE(loads(tier, handles[*left], {1, *left}, page));
            EXPECT_FALSE(tier.matches(handles[*left], {1, *left}, page));
            for (auto at = left + 1; at != order.end(); ++at) EXPECT_TRUE(loads(tier, handles[*at], {1, *at}, page));
            if (gone == 3) continue;
            const StoreHandle again = put(tier, {1, 9, 9}, page);
            EXPECT_TRUE(loads(tier, again, {1, 9}, page));
            const bool brought_it = std::find(order.begin(), order.end(), 0U) > order.begin() + gone;
            EXPECT_EQ(tier.pages() - tier.duplicates(), brought_it ? 1U : 0U) << "it found the blob, whoever is gone";
            tier.drop(again);
        }
        EXPECT_EQ(tier.pages(), 0U);
    } while (std::ranges::next_permutation(order).found);
}

TEST_P(SharingTest, ABlobStaysWhileAnybodySharesIt) {
    const auto lost = [] {
        CompressedTier tier = make_tier(GetParam());
        const Page page = test::library_pages(64)[20];
        const StoreHandle first = put(tier, {1, 0, 0}, page);
        const StoreHandle second = put(tier, {1, 1, 0}, page);
        tier.drop(first);
        (void)put(tier, {1, 2, 0}, test::library_pages(64)[10]);
        return !loads(tier, second, {1, 1}, page);
    };
    EXPECT_FALSE(lost());
    const Planted flaw{Plant::free_shared_early};
    EXPECT_TRUE(lost()) << "the test notices the flaw";
}

INSTANTIATE_TEST_SUITE_P(Codecs, SharingTest, ::testing::Values(Codec::lz4, Codec::zstd),
                         [](const auto& codec) { return codec.param == Codec::lz4 ? "Lz4" : "Zstd"; });

TEST(Sharing, VmsShareNothing) {
    CompressedTier tier = make_tier();
    const Page page = test::library_pages(64)[20];
    (void)put(tier, {1, 0, 0}, page);
    (void)put(tier, {2, 1, 0}, page);
    EXPECT_EQ(tier.duplicates(), 0U);
    (void)put(tier, {1, 2, 0}, page);
    EXPECT_EQ(tier.duplicates(), 1U);
}

TEST(Sharing, ADamagedBlobIsNotShared) {
    CompressedTier tier = make_tier();
    const Page page = test::library_pages(64)[20];
    const StoreHandle damaged = [&] {
        const Planted flip{Plant::corrupt_stored_page, 1};
        return put(tier, {1, 0, 0}, page);
    }();
    const StoreHandle good = put(tier, {1, 1, 0}, page);
    EXPECT_EQ(tier.duplicates(), 0U);
    EXPECT_FALSE(loads(tier, damaged, {1, 0}, page));
    EXPECT_TRUE(loads(tier, good, {1, 1}, page));
}

TEST(Sharing, MetadataStaysUnder24BytesAPage) {
    for (const unsigned copies : {1U, 2U, 10U}) {
        auto pool = BlobPool::create(64 * megabyte);
        std::mt19937_64 random{copies};
        std::array<std::byte, page_bytes> bytes{};
        std::uint64_t records = 0;
        constexpr std::uint64_t blobs = 12'000;
        for (std::uint64_t page = 0; page < blobs; ++page) {
            const ContentHash hash{random()};
            const PageIdentity identity{1, page, 0};
            const auto length = static_cast<std::uint16_t>(1000 + random() % 2000);
            const BlobInfo info{page_check(identity, hash), static_cast<std::uint32_t>(page), 0, length, Encoding::raw};
            const Blob blob{info, bytes.data(), SharedContents{1, hash}};
            StoreHandle handle{};
            ASSERT_EQ((*pool)->store({&blob, 1}, {&handle, 1}), 1U);
            for (unsigned copy = 1; copy < copies; ++copy) {
                const PageIdentity twin{1, blobs + page * copies + copy, 0};
                const BlobInfo own{page_check(twin, hash), static_cast<std::uint32_t>(twin.page), 0, 0, Encoding::raw};
                records += (*pool)->share({1, hash}, own) ? 1U : 0U;
            }
        }
        EXPECT_GE(records, blobs * (copies - 1) * 97 / 100);
        // Of blobs the headers, of records everything: those have no other contents.
        const std::uint64_t metadata = (*pool)->bookkeeping_bytes() + blobs * 16 + records * 24;
        EXPECT_LE(metadata, blobs * 24 + records * 49 / 2) << copies;
    }
}

/// Random pages come and go among a few contents; a model says what must be there.
TEST(Sharing, AgreesWithAModelOverManySteps) {
    CompressedTier tier = make_tier();
    const auto pages = test::library_pages(64);
    struct Stored {
        StoreHandle handle;
        std::size_t contents;
    };
    std::map<std::uint64_t, Stored> model;
    std::mt19937_64 random{11};
    for (std::uint64_t turn = 0; turn < 20'000; ++turn) {
        const std::uint64_t page = random() % 200;
        const auto at = model.find(page);
        if (at == model.end()) {
            const std::size_t contents = random() % 12 * (random() % 5);
            model[page] = {put(tier, {1, page, turn}, pages[contents]), contents};
        } else if (random() % 3 == 0) {
            ASSERT_TRUE(loads(tier, at->second.handle, {1, page}, pages[at->second.contents]));
        } else {
            tier.drop(at->second.handle);
            model.erase(at);
        }
    }
    EXPECT_EQ(tier.pages(), model.size());
    for (const auto& [page, stored] : model) tier.drop(stored.handle);
    EXPECT_EQ(tier.pages(), 0U);
}

}  // namespace
}  // namespace penumbra::vmm
