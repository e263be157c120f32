#include "vmm/memory/tier/blob_pool.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <vector>

namespace penumbra::vmm {
namespace {

std::vector<std::byte> contents(std::uint64_t page, std::size_t length) {
    std::vector<std::byte> bytes(length);
    for (std::size_t i = 0; i < length; ++i) bytes[i] = static_cast<std::byte>(page * 31 + i * 7 + i / 256);
    return bytes;
}

BlobInfo info_of(std::uint64_t page, std::size_t length) {
    return {page * 1'000'003, static_cast<std::uint32_t>(page), static_cast<std::uint32_t>(page * 77 % (1U << 20)),
            static_cast<std::uint16_t>(length), length % 2 == 0 ? Encoding::raw : Encoding::lz4};
}

std::optional<StoreHandle> put(BlobPool& pool, std::uint64_t page, std::size_t length) {
    const auto bytes = contents(page, length);
    const Blob blob{info_of(page, length), bytes.data()};
    StoreHandle handle{};
    if (pool.store({&blob, 1}, {&handle, 1}) == 0) return std::nullopt;
    return handle;
}

void expect_blob(const BlobPool& pool, StoreHandle handle, std::uint64_t page, std::size_t length) {
    std::array<std::byte, page_bytes> out{};
    const auto info = pool.copy(handle, out);
    ASSERT_TRUE(info.has_value());
    EXPECT_EQ(info->check, page * 1'000'003);
    EXPECT_EQ(info->page, page);
    EXPECT_EQ(info->version, info_of(page, length).version);
    ASSERT_EQ(info->length, length);
    EXPECT_EQ(info->encoding, info_of(page, length).encoding);
    EXPECT_TRUE(std::ranges::equal(contents(page, length), std::span{out}.first(length)));
}

TEST(SlabClass, WastesLittleOnTypicalBlobs) {
    double wasted = 0;
    unsigned lengths = 0;
    for (std::size_t length = 500; length <= 3500; ++length, ++lengths) {
        const SlabClass& shape = slab_classes[slab_class_for(length)];
        ASSERT_GE(shape.slot_bytes, length);
        wasted += static_cast<double>(slab_bytes) / (shape.slots * static_cast<double>(length)) - 1;
    }
    EXPECT_LT(wasted / lengths, 0.04);
}

TEST(BlobPool, KeepsBlobsOfEveryLength) {
    auto pool = BlobPool::create(64 << 20);
    ASSERT_TRUE(pool.has_value());
    std::vector<StoreHandle> handles;
    for (std::size_t length = 1; length <= page_bytes; ++length) handles.push_back(*put(**pool, length, length));
    EXPECT_EQ((*pool)->pages(), page_bytes);
    for (std::size_t length = 1; length <= page_bytes; ++length)
        expect_blob(**pool, handles[length - 1], length, length);
    (*pool)->free(handles);
    EXPECT_EQ((*pool)->pages(), 0U);
    EXPECT_EQ((*pool)->resident_bytes(), 0U) << "empty slabs go back";
    std::array<std::byte, page_bytes> out{};
    for (const StoreHandle handle : handles) EXPECT_FALSE((*pool)->copy(handle, out).has_value());
}

TEST(BlobPool, AnswersNothingForHandlesItNeverGave) {
    auto pool = BlobPool::create(1 << 20);
    std::array<std::byte, page_bytes> out{};
    for (const std::uint64_t handle :
         {std::uint64_t{0}, std::uint64_t{255}, (std::uint64_t{1} << 36) - 1, ~std::uint64_t{0}}) {
        EXPECT_FALSE((*pool)->copy(StoreHandle{handle}, out).has_value());
    }
    const auto last_page = put(**pool, (std::uint64_t{1} << page_index_bits) - 1, 4096);
    ASSERT_TRUE(last_page.has_value());
    expect_blob(**pool, *last_page, (std::uint64_t{1} << page_index_bits) - 1, 4096);
    EXPECT_FALSE((*pool)->copy(StoreHandle{200}, out).has_value()) << "beyond the slots of its slab";
}

TEST(BlobPool, AFullPoolRefusesAndKeepsWhatItHas) {
    auto pool = BlobPool::create(1 << 20);
    std::vector<StoreHandle> handles;
    while (const auto handle = put(**pool, handles.size(), 2000)) handles.push_back(*handle);
    EXPECT_LE((*pool)->resident_bytes(), std::uint64_t{1} << 20);
    EXPECT_GT(handles.size() * 2000, (1U << 20) * 94 / 100);
    for (std::size_t i = 0; i < handles.size(); ++i) expect_blob(**pool, handles[i], i, 2000);
    (*pool)->free(std::span{handles}.first(40));
    EXPECT_TRUE(put(**pool, 1, 2000).has_value());
    (*pool)->set_limit(4096);
    EXPECT_FALSE(put(**pool, 1, 700).has_value());
}

TEST(BlobPool, GivesMemoryBackAfterRandomFrees) {
    for (const unsigned keep_percent : {50U, 20U, 5U}) {
        std::mt19937 random{keep_percent};
        auto pool = BlobPool::create(64 << 20);
        std::vector<std::pair<StoreHandle, std::size_t>> blobs;
        for (std::uint64_t page = 0; page < 12'000; ++page) {
            const std::size_t length = 500 + random() % 2500;
            blobs.emplace_back(*put(**pool, page, length), length);
        }
        std::uint64_t live = 0;
        for (std::uint64_t page = 0; page < blobs.size(); ++page) {
            if (random() % 100 < keep_percent) {
                live += blobs[page].second;
            } else {
                (*pool)->free({&blobs[page].first, 1});
            }
        }
        // A live blob of 1750 bytes keeps the one or two pages under it: 5.8 KiB on average, were it all alone.
        const double spread = static_cast<double>((*pool)->resident_bytes()) / static_cast<double>(live);
        EXPECT_LT(spread, keep_percent == 50 ? 2.0 : keep_percent == 20 ? 3.0 : 3.9) << keep_percent << " % kept";
        // The holes are used before new memory is.
        const std::uint64_t before = (*pool)->resident_bytes();
        std::uint64_t refilled = 0;
        for (std::uint64_t page = 0; refilled < live / 4; ++page) {
            const std::size_t length = 500 + random() % 2500;
            ASSERT_TRUE(put(**pool, page, length).has_value());
            refilled += length;
        }
        EXPECT_LT((*pool)->resident_bytes(), before + before / 8);
    }
}

TEST(BlobPool, BookkeepingStaysSmall) {
    auto pool = BlobPool::create(64 << 20);
    std::mt19937 random{7};
    std::uint64_t stored = 0;
    std::uint64_t bytes = 0;
    for (; stored < 8000; ++stored) {
        const std::size_t length = 1200 + random() % 1900;
        ASSERT_TRUE(put(**pool, stored, length).has_value());
        bytes += length;
    }
    EXPECT_LE((*pool)->bookkeeping_bytes() + stored * 16, stored * 24);
    EXPECT_LT((*pool)->resident_bytes() + (*pool)->bookkeeping_bytes(), bytes + bytes / 20 + stored * 24);
}

TEST(BlobPool, OldestComesFirstAndEveryBlobComesOnce) {
    auto pool = BlobPool::create(64 << 20);
    constexpr std::uint64_t count = 8192;
    for (std::uint64_t page = 0; page < count; ++page) ASSERT_TRUE(put(**pool, page, 1500 + page % 100).has_value());
    std::set<std::uint64_t> seen;
    std::uint64_t from_older_half = 0;
    std::array<OldBlob, 100> old;
    for (std::uint64_t asked = 0; asked < count / 2; asked += old.size()) {
        const std::size_t found = (*pool)->oldest(old);
        ASSERT_EQ(found, old.size());
        std::vector<StoreHandle> handles;
        for (const OldBlob& blob : old) {
            EXPECT_TRUE(seen.insert(blob.page).second);
            expect_blob(**pool, blob.handle, blob.page, 1500 + blob.page % 100);
            from_older_half += blob.page < count / 2 ? 1 : 0;
            handles.push_back(blob.handle);
        }
        (*pool)->free(handles);
    }
    EXPECT_GT(from_older_half, seen.size() * 8 / 10);
    EXPECT_LT((*pool)->resident_bytes(), (*pool)->pages() * 1600 * 3 / 2) << "moving the oldest frees whole slabs";
}

TEST(BlobPool, OldestGoesPastBlobsThatStay) {
    auto pool = BlobPool::create(4 << 20);
    for (std::uint64_t page = 0; page < 100; ++page) ASSERT_TRUE(put(**pool, page, 1000).has_value());
    std::set<std::uint64_t> seen;
    std::array<OldBlob, 7> old;
    for (int turn = 0; turn < 40; ++turn) {
        const std::size_t found = (*pool)->oldest(old);
        for (std::size_t i = 0; i < found; ++i) seen.insert(old[i].page);
    }
    EXPECT_EQ(seen.size(), 100U);
}

TEST(BlobPoolDeathTest, ADoubleFreeIsABrokenPromise) {
    auto pool = BlobPool::create(1 << 20);
    const StoreHandle handle = *put(**pool, 1, 100);
    ASSERT_TRUE(put(**pool, 2, 100).has_value());
    (*pool)->free({&handle, 1});
    EXPECT_DEATH((*pool)->free({&handle, 1}), "not stored");
}

}  // namespace
}  // namespace penumbra::vmm
