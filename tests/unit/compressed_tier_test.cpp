#include "vmm/memory/tier/compressed_tier.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "base/planted.hpp"
#include "tests/support/library_pages.hpp"
#include "vmm/memory/tier/page_check.hpp"
#include "vmm/memory/tier/page_codec.hpp"

namespace penumbra::vmm {
namespace {

using test::Page;

constexpr std::uint64_t megabyte = 1 << 20;

CompressedTier make_tier(std::uint64_t bytes = 64 * megabyte) {
    auto tier = CompressedTier::create(bytes);
    EXPECT_TRUE(tier.has_value());
    return std::move(*tier);
}

StoreFailure failure_of(const StoreResult<>& result) { return result.error().failure; }

TEST(PageCheck, BindsContentsAndIdentity) {
    const Page page = test::noise_page(1);
    const PageIdentity identity{1, 2, 3};
    const std::uint64_t check = page_check(identity, page);
    EXPECT_EQ(check, page_check(identity, page));
    EXPECT_NE(check, page_check({2, 2, 3}, page));
    EXPECT_NE(check, page_check({1, 3, 3}, page));
    EXPECT_NE(check, page_check({1, 2, 4}, page));
    EXPECT_NE(check, page_check({2, 1, 3}, page));
    EXPECT_EQ(check, page_check({1, 2, 3 + (1 << page_version_bits)}, page)) << "higher bits do not count";
    Page flipped = page;
    flip_one_bit(flipped);
    EXPECT_NE(check, page_check(identity, flipped));
    EXPECT_EQ(checked_contents(identity, check), content_hash(page));
    EXPECT_NE(checked_contents({1, 2, 4}, check), content_hash(page));
}

TEST(CompressedTier, RealPagesComeBackAsTheyWere) {
    CompressedTier tier = make_tier();
    const auto pages = test::library_pages();
    std::vector<StoreItem> items;
    for (std::size_t i = 0; i < pages.size(); ++i) items.push_back({{9, i, i + 5}, pages[i].data()});
    std::vector<StoreOutcome> outcomes(items.size());
    tier.store_batch(items, outcomes, Incompressible::store_raw);
    EXPECT_EQ(tier.pages(), pages.size());
    EXPECT_LT(tier.charged_bytes(), pages.size() * page_bytes);
    Page out{};
    for (std::size_t i = 0; i < pages.size(); ++i) {
        ASSERT_TRUE(outcomes[i].stored());
        ASSERT_TRUE(tier.load(outcomes[i].handle, items[i].identity.owner(), out).has_value());
        EXPECT_EQ(out, pages[i]);
        tier.drop(outcomes[i].handle);
    }
    EXPECT_EQ(tier.pages(), 0U);
}

TEST(CompressedTier, AnotherOwnersPageIsCorrupt) {
    CompressedTier tier = make_tier();
    const Page page = test::library_pages(64)[10];
    const auto handle = tier.store({1, 2, 3}, page);
    ASSERT_TRUE(handle.has_value());
    Page out{};
    for (const PageOwner& other : {PageOwner{2, 2}, PageOwner{1, 1}}) {
        const auto loaded = tier.load(*handle, other, out);
        ASSERT_FALSE(loaded.has_value());
        EXPECT_EQ(failure_of(loaded), StoreFailure::corrupt);
        EXPECT_FALSE(loaded.error().error.message().empty());
    }
    EXPECT_TRUE(tier.load(*handle, {1, 2}, out).has_value());
    tier.drop(*handle);
    EXPECT_EQ(failure_of(tier.load(*handle, {1, 2}, out)), StoreFailure::corrupt);
}

TEST(CompressedTier, NoiseIsRefusedOrStoredRawAsAsked) {
    CompressedTier tier = make_tier();
    const Page noise = test::noise_page(3);
    const auto refused = tier.store({1, 1, 1}, noise);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().failure, StoreFailure::incompressible);
    EXPECT_EQ(tier.pages(), 0U);
    const auto handle = tier.store({1, 1, 1}, noise, Incompressible::store_raw);
    ASSERT_TRUE(handle.has_value());
    Page out{};
    ASSERT_TRUE(tier.load(*handle, {1, 1}, out).has_value());
    EXPECT_EQ(out, noise);
}

TEST(CompressedTier, ABatchAnswersForEachPage) {
    CompressedTier tier = make_tier(megabyte);
    const Page noise = test::noise_page(4);
    const auto library = test::library_pages(64);
    std::vector<Page> pages;
    for (std::uint64_t i = 0; i < 2000; ++i) {
        pages.push_back(library[i % library.size()]);
        std::memcpy(pages.back().data(), &i, sizeof i);  // no two are alike
    }
    std::vector<StoreItem> items;
    for (std::size_t i = 0; i < pages.size(); ++i) {
        items.push_back({{1, i, 0}, i % 3 == 0 ? noise.data() : pages[i].data()});
    }
    std::vector<StoreOutcome> outcomes(items.size());
    tier.store_batch(items, outcomes, Incompressible::refuse);
    Page out{};
    bool full = false;
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (outcomes[i].stored()) {
            EXPECT_TRUE(tier.load(outcomes[i].handle, items[i].identity.owner(), out).has_value());
            EXPECT_TRUE(std::ranges::equal(out, std::span{items[i].page, page_bytes}));
        }
        if (i % 3 == 0) {
            EXPECT_EQ(outcomes[i].failure, StoreFailure::incompressible);
        }
        full = full || outcomes[i].failure == StoreFailure::full;
    }
    EXPECT_TRUE(full);
    EXPECT_EQ(tier.store({1, 1, 1}, pages[1], Incompressible::store_raw).error().failure, StoreFailure::full);
}

TEST(CompressedTier, ACopiedBlobDecodesElsewhere) {
    CompressedTier tier = make_tier();
    const Page page = test::library_pages(64)[20];
    const auto handle = tier.store({1, 2, 3}, page, Incompressible::store_raw);
    Page blob{};
    const auto copy = tier.copy_blob(*handle, {1, 2}, blob);
    ASSERT_TRUE(copy.has_value());
    EXPECT_EQ(copy->check, page_check({1, 2, 3}, page));
    EXPECT_EQ(copy->version, 3U);
    Page out{};
    ASSERT_TRUE(decode_page(copy->encoding, std::span{blob}.first(copy->length), out));
    EXPECT_EQ(out, page);
    EXPECT_FALSE(tier.copy_blob(*handle, {1, 3}, blob).has_value());
}

TEST(CompressedTier, APlantedBitFlipIsCaught) {
    CompressedTier tier = make_tier();
    for (const Page& page : {test::library_pages(64)[30], test::noise_page(5)}) {
        const auto handle = [&] {
            const Planted flip{Plant::corrupt_stored_page, 1};
            return tier.store({1, 2, 3}, page, Incompressible::store_raw);
        }();
        ASSERT_TRUE(handle.has_value());
        Page out{};
        const auto loaded = tier.load(*handle, {1, 2}, out);
        ASSERT_FALSE(loaded.has_value());
        EXPECT_EQ(failure_of(loaded), StoreFailure::corrupt);
    }
}

TEST(CompressedTier, ACopyServesAgainWhileItsPageIsUnchanged) {
    CompressedTier tier = make_tier();
    const auto pages = test::library_pages(64);
    const Page noise = test::noise_page(6);
    for (const std::uint64_t version :
         {std::uint64_t{0}, std::uint64_t{7}, (std::uint64_t{1} << page_version_bits) - 1}) {
        for (const Page& page : {pages[40], noise}) {
            const auto handle = tier.store({1, 2, version}, page, Incompressible::store_raw);
            ASSERT_TRUE(handle.has_value());
            EXPECT_TRUE(tier.matches(*handle, {1, 2}, page));
            Page changed = page;
            flip_one_bit(changed);
            EXPECT_FALSE(tier.matches(*handle, {1, 2}, changed));
            tier.drop(*handle);
            EXPECT_FALSE(tier.matches(*handle, {1, 2}, page));
        }
    }
}

TEST(CompressedTier, ACopyServesNobodyElse) {
    CompressedTier tier = make_tier();
    const Page page = test::library_pages(64)[20];
    const auto handle = tier.store({1, 2, 3}, page);
    ASSERT_TRUE(handle.has_value());
    const auto serves_another = [&] { return tier.matches(*handle, {1, 3}, page); };
    EXPECT_FALSE(serves_another());
    EXPECT_FALSE(tier.matches(*handle, {2, 2}, page));
    {
        const Planted flaw{Plant::match_any_page};
        EXPECT_TRUE(serves_another()) << "the test notices the flaw";
    }
    EXPECT_FALSE(tier.matches(StoreHandle{(std::uint64_t{1} << store_handle_bits) - 1}, {1, 2}, page));
}

TEST(CompressedTier, WhatIsDroppedIsGone) {
    CompressedTier tier = make_tier();
    const Page page = test::library_pages(64)[30];
    const auto kept_after_drop = [&] {
        const auto handle = tier.store({1, 2, 3}, page);
        tier.drop(*handle);
        return tier.pages() != 0 || tier.matches(*handle, {1, 2}, page);
    };
    EXPECT_FALSE(kept_after_drop());
    const Planted flaw{Plant::keep_dropped_copy};
    EXPECT_TRUE(kept_after_drop()) << "the test notices the flaw";
}

/// A few slots that all threads store into, load from and drop, under handles that may be stale at any moment.
struct SharedSlots {
    static constexpr std::size_t count = 64;
    /// handle << 16 | version; 0: empty. Taken out by whoever drops it, so nobody drops twice.
    std::array<std::atomic<std::uint64_t>, count> words{};
};

void churn(CompressedTier& tier, const std::vector<Page>& pages, SharedSlots& shared, std::uint64_t seed,
           std::atomic<std::uint64_t>& wrong) {
    std::mt19937_64 random{seed};
    Page out{};
    for (std::uint64_t turn = 1; turn <= 3000; ++turn) {
        const std::size_t at = random() % SharedSlots::count;
        const std::uint64_t version = (turn * 4 + seed) % 65536;
        const auto page_at = [&](std::uint64_t v) -> const Page& { return pages[(at + v) % pages.size()]; };
        const std::uint64_t seen = shared.words[at].load(std::memory_order_acquire);
        if (random() % 3 == 0) {
            const auto handle = tier.store({1, at, version}, page_at(version), Incompressible::store_raw);
            const std::uint64_t word = handle ? static_cast<std::uint64_t>(*handle) << 16 | version | 1ULL << 60 : 0;
            const std::uint64_t old = shared.words[at].exchange(word, std::memory_order_acq_rel);
            if (old != 0) tier.drop(StoreHandle{old << 4 >> 20});
        } else if (seen != 0) {
            // Right while the word stays; after that, any version of this page or nothing.
            const StoreHandle handle{seen << 4 >> 20};
            const bool matched = tier.matches(handle, {1, at}, page_at(seen % 65536));
            const auto loaded = tier.load(handle, {1, at}, out);
            if (shared.words[at].load(std::memory_order_acquire) == seen) {
                if (!matched || !loaded || out != page_at(seen % 65536)) wrong.fetch_add(1);
            } else if (loaded && std::ranges::find(pages, out) == pages.end()) {
                wrong.fetch_add(1);
            }
        }
    }
}

TEST(CompressedTier, RacingLoadsAreRightOrRefused) {
    CompressedTier tier = make_tier(8 * megabyte);
    const auto pages = test::library_pages(256);
    SharedSlots shared;
    std::atomic<std::uint64_t> wrong{0};
    {
        std::vector<std::jthread> threads;
        for (std::uint64_t seed = 0; seed < 4; ++seed) {
            threads.emplace_back([&, seed] { churn(tier, pages, shared, seed, wrong); });
        }
        std::array<OldBlob, 16> old;
        for (int turn = 0; turn < 500; ++turn) (void)tier.oldest(old);
    }
    EXPECT_EQ(wrong.load(), 0U);
    std::uint64_t live = 0;
    for (const auto& word : shared.words) live += word.load() != 0 ? 1U : 0U;
    EXPECT_EQ(tier.pages(), live);
}

}  // namespace
}  // namespace penumbra::vmm
