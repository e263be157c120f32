// Compressed memory that moves its blobs together.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "tests/support/library_pages.hpp"
#include "vmm/memory/tier/compressed_tier.hpp"

namespace penumbra::vmm {
namespace {

using test::Page;

constexpr std::uint64_t megabyte = 1 << 20;

/// What a pager keeps: a handle and a version for each page; 0 where nothing is stored.
class Words {
public:
    explicit Words(std::size_t pages) : words_(pages) {}

    [[nodiscard]] std::atomic<std::uint64_t>& operator[](std::uint64_t page) { return words_[page]; }
    [[nodiscard]] std::size_t count() const { return words_.size(); }
    [[nodiscard]] static std::uint64_t of(StoreHandle handle, std::uint64_t version) {
        return static_cast<std::uint64_t>(handle) << 20 | version;
    }
    [[nodiscard]] static StoreHandle handle(std::uint64_t word) { return StoreHandle{word >> 20}; }
    [[nodiscard]] static std::uint64_t version(std::uint64_t word) { return word & 0xfffff; }
    [[nodiscard]] Relocate relocate() {
        return [this](std::uint64_t page, StoreHandle from, StoreHandle to) {
            if (page >= words_.size()) return false;
            std::uint64_t word = words_[page].load();
            return word != 0 && handle(word) == from &&
                   words_[page].compare_exchange_strong(word, of(to, version(word)));
        };
    }

private:
    std::vector<std::atomic<std::uint64_t>> words_;
};

/// Page contents that differ for every page and version, and compress to many lengths.
Page contents(const std::vector<Page>& library, std::uint64_t page, std::uint64_t version) {
    Page bytes = library[(page * 7 + version) % library.size()];
    std::memcpy(bytes.data(), &page, sizeof page);
    std::memcpy(bytes.data() + sizeof page, &version, sizeof version);
    return bytes;
}

std::size_t compact_fully(CompressedTier& tier, Words& words) {
    std::size_t moved = 0;
    std::size_t turns = 0;
    for (std::size_t now = 1; now != 0 && turns < 10'000; ++turns) moved += now = tier.compact(32, words.relocate());
    return moved;
}

TEST(Moves, SparseSlabsAreEmptiedIntoOthers) {
    auto tier = CompressedTier::create(64 * megabyte);
    const auto library = test::library_pages(512);
    Words words(6000);
    std::mt19937_64 random{1};
    for (std::uint64_t page = 0; page < words.count(); ++page) {
        const auto handle = tier->store({1, page, 1}, contents(library, page, 1), Incompressible::store_raw);
        words[page] = Words::of(*handle, 1);
    }
    EXPECT_EQ(tier->compact(32, words.relocate()), 0U) << "nothing is worth it";
    for (std::uint64_t page = 0; page < words.count(); ++page) {
        if (random() % 3 == 0) continue;
        tier->drop(Words::handle(words[page].exchange(0)));
    }
    const std::uint64_t before = tier->charged_bytes();
    EXPECT_GT(compact_fully(*tier, words), 100U);
    EXPECT_LT(tier->charged_bytes(), before * 3 / 4);
    Page out{};
    for (std::uint64_t page = 0; page < words.count(); ++page) {
        const std::uint64_t word = words[page];
        if (word == 0) continue;
        ASSERT_TRUE(tier->load(Words::handle(word), {1, page}, out).has_value());
        EXPECT_EQ(out, contents(library, page, 1));
        EXPECT_TRUE(tier->matches(Words::handle(word), {1, page}, out));
    }
}

TEST(Moves, AMovedBlobIsStillFoundByItsContents) {
    auto tier = CompressedTier::create(64 * megabyte);
    const auto library = test::library_pages(512);
    Words words(3000);
    for (std::uint64_t page = 0; page < words.count(); ++page) {
        const auto handle = tier->store({1, page, 1}, contents(library, page, 1), Incompressible::store_raw);
        words[page] = Words::of(*handle, 1);
    }
    for (std::uint64_t page = 0; page < words.count(); ++page) {
        if (page % 4 != 0) tier->drop(Words::handle(words[page].exchange(0)));
    }
    std::vector<std::uint64_t> before;
    for (std::uint64_t page = 0; page < words.count(); ++page) before.push_back(words[page]);
    ASSERT_GT(compact_fully(*tier, words), 100U);
    std::uint64_t moved = 0;
    std::uint64_t found = 0;
    for (std::uint64_t page = 0; page < words.count(); page += 4) {
        if (words[page] == before[page]) continue;
        ++moved;
        const std::uint64_t duplicates = tier->duplicates();
        (void)tier->store({1, 10'000 + page, 1}, contents(library, page, 1), Incompressible::store_raw);
        found += tier->duplicates() - duplicates;
    }
    EXPECT_GT(found, moved * 95 / 100);
}

TEST(Moves, WhatIsDroppedOrRefusedOnItsWayIsNeitherLostNorKept) {
    auto tier = CompressedTier::create(64 * megabyte);
    const auto library = test::library_pages(512);
    Words words(4000);
    std::mt19937_64 random{2};
    std::uint64_t live = 0;
    for (std::uint64_t page = 0; page < words.count(); ++page) {
        const auto handle = tier->store({1, page, 1}, contents(library, page, 1), Incompressible::store_raw);
        words[page] = Words::of(*handle, 1);
    }
    for (std::uint64_t page = 0; page < words.count(); ++page) {
        if (random() % 3 != 0) tier->drop(Words::handle(words[page].exchange(0)));
    }
    const Relocate swap = words.relocate();
    const Relocate moody = [&](std::uint64_t page, StoreHandle from, StoreHandle to) {
        switch (random() % 4) {
            case 0:
                return false;
            case 1:  // the page goes before its handle is replaced
                tier->drop(from);
                words[page] = 0;
                return false;
            case 2:  // ... and just after
                if (!swap(page, from, to)) return false;
                tier->drop(to);
                words[page] = 0;
                return true;
            default:
                return swap(page, from, to);
        }
    };
    for (int turn = 0; turn < 200; ++turn) (void)tier->compact(32, moody);
    Page out{};
    for (std::uint64_t page = 0; page < words.count(); ++page) {
        const std::uint64_t word = words[page];
        if (word == 0) continue;
        ++live;
        ASSERT_TRUE(tier->load(Words::handle(word), {1, page}, out).has_value());
        EXPECT_EQ(out, contents(library, page, 1));
    }
    EXPECT_EQ(tier->pages(), live);
    for (std::uint64_t page = 0; page < words.count(); ++page) {
        if (words[page] != 0) tier->drop(Words::handle(words[page]));
    }
    EXPECT_EQ(tier->pages(), 0U);
    EXPECT_LE(tier->charged_bytes(), 30 * page_bytes) << "no slot is left behind";
}

TEST(Moves, StoresLoadsAndDropsGoOnBeside) {
    auto tier = CompressedTier::create(64 * megabyte);
    const auto library = test::library_pages(256);
    Words words(1200);
    std::atomic<bool> done{false};
    std::atomic<std::uint64_t> wrong{0};
    std::atomic<std::uint64_t> moved{0};
    std::jthread mover{[&] {
        while (!done.load()) moved += tier->compact(32, words.relocate());
    }};
    const auto churn = [&](std::uint64_t first, std::uint64_t last, std::uint64_t seed) {
        std::mt19937_64 random{seed};
        Page out{};
        for (std::uint64_t turn = 1; turn <= 6000; ++turn) {
            // Waves, so that slabs become sparse.
            const bool filling = turn / 1000 % 2 == 0;
            const std::uint64_t page = first + random() % (last - first);
            const std::uint64_t word = words[page].load();
            if (word != 0) {
                const auto loaded = tier->load(Words::handle(word), {1, page}, out);
                if (words[page].load() == word && (!loaded || out != contents(library, page, Words::version(word)))) {
                    wrong.fetch_add(1);
                }
            }
            if (word != 0 && (!filling || random() % 4 == 0)) {
                tier->drop(Words::handle(words[page].exchange(0)));
            } else if (word == 0 && (filling || random() % 8 == 0)) {
                const auto handle =
                    tier->store({1, page, turn}, contents(library, page, turn), Incompressible::store_raw);
                words[page] = Words::of(*handle, turn);
            }
        }
    };
    {
        const std::jthread one{churn, 0, 600, 1};
        const std::jthread two{churn, 600, 1200, 2};
    }
    done = true;
    mover.join();
    EXPECT_EQ(wrong.load(), 0U);
    EXPECT_GT(moved.load(), 0U);
    std::uint64_t live = 0;
    for (std::uint64_t page = 0; page < words.count(); ++page) live += words[page] != 0 ? 1U : 0U;
    EXPECT_EQ(tier->pages(), live);
}

TEST(Moves, HolesStayUnderATenthOverManyReplacements) {
    auto pool = BlobPool::create(64 * megabyte);
    // Real lengths: what the C library's pages compress to.
    std::vector<std::uint16_t> lengths;
    PageCompressor compressor;
    Page space{};
    for (const Page& page : test::library_pages()) {
        const std::size_t length = compressor.compress(Codec::zstd, page, std::span{space}.first(3072));
        if (length > 0) lengths.push_back(static_cast<std::uint16_t>(length));
    }
    constexpr std::uint64_t pages = 8000;
    std::mt19937_64 random{3};
    Words words(pages);
    std::vector<std::uint16_t> stored(pages);
    std::uint64_t bytes = 0;
    const auto put = [&](std::uint64_t page) {
        const std::uint16_t length = lengths[random() % lengths.size()];
        const Blob blob{{1, static_cast<std::uint32_t>(page), 0, length, Encoding::zstd}, space.data()};
        StoreHandle handle{};
        ASSERT_EQ((*pool)->store({&blob, 1}, {&handle, 1}), 1U);
        words[page] = Words::of(handle, 1);
        bytes += stored[page] = length;
    };
    for (std::uint64_t page = 0; page < pages; ++page) put(page);
    for (std::uint64_t turn = 1; turn <= 60'000; ++turn) {
        const std::uint64_t page = random() % pages;
        const StoreHandle old = Words::handle(words[page]);
        (*pool)->free({&old, 1});
        bytes -= stored[page];
        put(page);
        if (turn % 64 == 0) (void)(*pool)->compact(16, words.relocate());
        if (turn % 10'000 == 0) {
            EXPECT_LE(static_cast<double>((*pool)->resident_bytes()), static_cast<double>(bytes) * 1.10) << turn;
        }
    }
}

}  // namespace
}  // namespace penumbra::vmm
