#include "vmm/memory/tier/file_tier.hpp"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <random>
#include <thread>
#include <vector>

#include "base/planted.hpp"
#include "tests/support/library_pages.hpp"
#include "vmm/memory/tier/compressed_tier.hpp"
#include "vmm/memory/tier/file_reader.hpp"

namespace penumbra::vmm {
namespace {

using test::Page;
namespace fs = std::filesystem;

constexpr std::uint64_t megabyte = 1 << 20;

class FileTierTest : public ::testing::TestWithParam<IoMode> {
protected:
    void SetUp() override {
        std::string name = (fs::temp_directory_path() / "penumbra-file-tier-XXXXXX").string();
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        folder_ = name;
    }
    void TearDown() override { fs::remove_all(folder_); }

    [[nodiscard]] std::string path() const { return (folder_ / "swap").string(); }
    [[nodiscard]] Result<std::unique_ptr<FileTier>> try_open(const std::string& path,
                                                             std::uint64_t bytes = 64 * megabyte) {
        return FileTier::create({path, bytes, GetParam()});
    }
    [[nodiscard]] std::unique_ptr<FileTier> open(std::uint64_t bytes = 64 * megabyte) {
        auto tier = try_open(path(), bytes);
        EXPECT_TRUE(tier.has_value()) << tier.error().message();
        return std::move(*tier);
    }

    fs::path folder_;
};

std::vector<FileItem> raw_items(const std::vector<Page>& pages) {
    std::vector<FileItem> items;
    for (std::size_t i = 0; i < pages.size(); ++i) items.push_back(FileItem::of_page({1, i, i + 5}, pages[i]));
    return items;
}

std::vector<StoreHandle> write_all(FileTier& tier, std::span<const FileItem> items) {
    std::vector<StoreOutcome> outcomes(items.size());
    const auto written = tier.write_batch(items, outcomes);
    EXPECT_TRUE(written.has_value()) << written.error().error.message();
    std::vector<StoreHandle> handles;
    for (const StoreOutcome& outcome : outcomes) handles.push_back(outcome.handle);
    return handles;
}

TEST_P(FileTierTest, RealPagesComeBackRawAndAsBlobs) {
    const auto tier = open();
    EXPECT_LE(tier->io_buffer_bytes(), 2 * megabyte);
    const auto pages = test::library_pages(1000);
    auto items = raw_items(pages);
    auto compressed = CompressedTier::create(64 * megabyte);
    std::vector<Page> blobs(pages.size());
    for (std::size_t i = 0; i < pages.size(); i += 2) {  // every other page goes by way of compressed memory
        const auto handle = compressed->store(items[i].identity, pages[i], Incompressible::store_raw);
        ASSERT_TRUE(handle.has_value());
        const auto copy = compressed->copy_blob(*handle, {1, i}, blobs[i]);
        ASSERT_TRUE(copy.has_value());
        items[i] = FileItem::of_blob({1, i}, *copy, blobs[i].data());
    }
    const auto handles = write_all(*tier, items);
    EXPECT_EQ(tier->pages(), pages.size());
    auto reader = tier->make_reader();
    ASSERT_TRUE(reader.has_value());
    std::vector<Page> out(pages.size());
    std::vector<ReadItem> reads;
    for (std::size_t i = 0; i < pages.size(); ++i) reads.push_back({handles[i], {1, i}, out[i].data()});
    std::vector<StoreOutcome> outcomes(reads.size());
    const auto read = (*reader)->read_batch(reads, outcomes);
    ASSERT_TRUE(read.has_value()) << read.error().error.message();
    EXPECT_TRUE(out == pages);
    Page one{};
    ASSERT_TRUE((*reader)->read(handles[7], {1, 7}, one).has_value());
    EXPECT_EQ(one, pages[7]);
    EXPECT_EQ((*reader)->read(handles[7], {1, 8}, one).error().failure, StoreFailure::corrupt);
    EXPECT_EQ((*reader)->read(handles[7], {2, 7}, one).error().failure, StoreFailure::corrupt);
    tier->drop_batch(handles);
    EXPECT_EQ(tier->pages(), 0U);
    EXPECT_EQ((*reader)->read(handles[7], {1, 7}, one).error().failure, StoreFailure::corrupt);
}

TEST_P(FileTierTest, ACopyServesItsUnchangedPageAndNoOther) {
    const auto tier = open();
    const auto pages = test::library_pages(64);
    auto items = raw_items(pages);
    auto compressed = CompressedTier::create(megabyte);
    Page blob{};
    const auto handle = compressed->store(items[3].identity, pages[3], Incompressible::store_raw);
    const auto copy = compressed->copy_blob(*handle, {1, 3}, blob);
    ASSERT_TRUE(copy.has_value());
    items[3] = FileItem::of_blob({1, 3}, *copy, blob.data());
    const auto handles = write_all(*tier, items);
    for (std::size_t i = 0; i < pages.size(); ++i) {
        EXPECT_TRUE(tier->matches(handles[i], {1, i}, pages[i])) << i;
        Page changed = pages[i];
        flip_one_bit(changed);
        EXPECT_FALSE(tier->matches(handles[i], {1, i}, changed)) << i;
        EXPECT_FALSE(tier->matches(handles[i], {2, i}, pages[i])) << i;
    }
    const auto serves_another = [&] { return tier->matches(handles[3], {1, 4}, pages[3]); };
    EXPECT_FALSE(serves_another());
    {
        const Planted flaw{Plant::match_any_page};
        EXPECT_TRUE(serves_another()) << "the test notices the flaw";
    }
    tier->drop(handles[3]);
    EXPECT_FALSE(tier->matches(handles[3], {1, 3}, pages[3]));
}

TEST_P(FileTierTest, ABlobDamagedInMemoryIsFoundWhereItIsRead) {
    const auto tier = open();
    const Page page = test::library_pages(64)[3];
    auto compressed = CompressedTier::create(megabyte);
    const auto handle = [&] {
        const Planted flip{Plant::corrupt_stored_page, 1};
        return compressed->store({1, 3, 9}, page, Incompressible::store_raw);
    }();
    Page blob{};
    const auto copy = compressed->copy_blob(*handle, {1, 3}, blob);
    ASSERT_TRUE(copy.has_value()) << "a move compares nothing";
    const FileItem item = FileItem::of_blob({1, 3}, *copy, blob.data());
    const auto handles = write_all(*tier, {&item, 1});
    auto reader = tier->make_reader();
    Page out{};
    EXPECT_EQ((*reader)->read(handles[0], {1, 3}, out).error().failure, StoreFailure::corrupt);
}

TEST_P(FileTierTest, FreedSlotsAreUsedAgain) {
    const auto tier = open(megabyte);
    const auto pages = test::library_pages(256);
    const auto items = raw_items(pages);
    auto handles = write_all(*tier, items);
    EXPECT_EQ(tier->file_bytes(), megabyte);
    std::vector<StoreOutcome> outcomes(1);
    const auto full = tier->write_batch(std::span{items}.first(1), outcomes);
    ASSERT_FALSE(full.has_value());
    EXPECT_EQ(outcomes[0].failure, StoreFailure::full);
    std::mt19937 random{1};
    std::ranges::shuffle(handles, random);
    tier->drop_batch(std::span{handles}.first(100));
    (void)write_all(*tier, std::span{items}.first(100));
    EXPECT_EQ(tier->pages(), 256U);
    EXPECT_EQ(tier->file_bytes(), megabyte);
}

TEST_P(FileTierTest, PlantedFailuresAreErrorsAndHarmNothing) {
    const auto tier = open();
    const auto pages = test::library_pages(64);
    const auto items = raw_items(pages);
    const auto handles = write_all(*tier, items);
    auto reader = tier->make_reader();
    std::vector<StoreOutcome> outcomes(items.size());
    Page out{};
    {
        const Planted full{Plant::full_disk};
        const auto written = tier->write_batch(items, outcomes);
        ASSERT_FALSE(written.has_value());
        EXPECT_EQ(written.error().failure, StoreFailure::full);
        EXPECT_NE(written.error().error.message().find(path()), std::string::npos);
        EXPECT_TRUE(std::ranges::none_of(outcomes, &StoreOutcome::stored));
    }
    {
        const Planted cut{Plant::short_read};
        const auto read = (*reader)->read(handles[0], {1, 0}, out);
        ASSERT_FALSE(read.has_value());
        EXPECT_EQ(read.error().failure, StoreFailure::io);
    }
    {
        const Planted once{Plant::short_read, 2};
        EXPECT_TRUE((*reader)->read(handles[0], {1, 0}, out).has_value()) << "a passing one is retried";
    }
    {
        const Planted flip{Plant::corrupt_stored_page, 1};
        const auto bad = write_all(*tier, std::span{items}.first(1));
        EXPECT_EQ((*reader)->read(bad[0], {1, 0}, out).error().failure, StoreFailure::corrupt);
    }
    for (std::size_t i = 0; i < items.size(); ++i) {
        ASSERT_TRUE((*reader)->read(handles[i], {1, i}, out).has_value());
        EXPECT_EQ(out, pages[i]);
    }
}

TEST_P(FileTierTest, AFullFileSystemIsFullNotFatal) {
    if (::mount("tmpfs", folder_.c_str(), "tmpfs", 0, "size=4m") != 0) GTEST_SKIP() << "mounting a tmpfs needs root";
    {
        const auto tier = open();
        const auto pages = test::library_pages(64);
        const auto items = raw_items(pages);
        std::vector<StoreOutcome> outcomes(items.size());
        std::vector<std::vector<StoreHandle>> stored;
        StoreResult<> result;
        for (int turn = 0; turn < 32 && result; ++turn) {
            result = tier->write_batch(items, outcomes);
            auto& handles = stored.emplace_back();
            for (const auto& outcome : outcomes) {
                if (outcome.stored()) handles.push_back(outcome.handle);
            }
        }
        ASSERT_FALSE(result.has_value());
        EXPECT_EQ(result.error().failure, StoreFailure::full);
        EXPECT_GE(tier->pages(), 768U) << "the space there is serves";
        auto reader = tier->make_reader();
        Page out{};
        for (const auto& handles : stored) {
            for (std::size_t i = 0; i < handles.size(); ++i) {
                ASSERT_TRUE((*reader)->read(handles[i], {1, i}, out).has_value());
            }
        }
    }
    ::umount(folder_.c_str());
}

TEST_P(FileTierTest, ReadersWriterAndDropsRunTogether) {
    const auto tier = open(4 * megabyte);
    const auto pages = test::library_pages(128);
    constexpr std::size_t count = 128;
    std::array<std::atomic<std::uint64_t>, count> words{};  // handle << 16 | version + 1; 0: not stored
    std::atomic<bool> done{false};
    std::atomic<std::uint64_t> wrong{0};
    const auto page_of = [&](std::size_t at, std::uint64_t version) -> const Page& {
        return pages[(at + version) % count];
    };
    std::vector<std::jthread> readers;
    for (unsigned seed = 0; seed < 2; ++seed) {
        readers.emplace_back([&, seed] {
            auto reader = tier->make_reader();
            std::mt19937 random{seed};
            Page out{};
            while (!done.load()) {
                const std::size_t at = random() % count;
                const std::uint64_t word = words[at].load();
                if (word == 0) continue;
                const std::uint64_t version = word % 65536 - 1;
                // Right while the word stays; after that, any version of this page or nothing.
                const auto read = (*reader)->read(StoreHandle{word >> 16}, {1, at}, out);
                if (words[at].load() == word) {
                    if (!read || out != page_of(at, version)) wrong.fetch_add(1);
                } else if (read && std::ranges::find(pages, out) == pages.end()) {
                    wrong.fetch_add(1);
                }
            }
        });
    }
    for (std::uint64_t version = 0; version < 40; ++version) {
        std::vector<FileItem> items;
        for (std::size_t at = 0; at < count; ++at) {
            items.push_back(FileItem::of_page({1, at, version}, page_of(at, version)));
        }
        const auto handles = write_all(*tier, items);
        for (std::size_t at = 0; at < count; ++at) {
            const std::uint64_t old = words[at].exchange(static_cast<std::uint64_t>(handles[at]) << 16 | (version + 1));
            if (old != 0) tier->drop(StoreHandle{old >> 16});
        }
    }
    done.store(true);
    readers.clear();
    EXPECT_EQ(wrong.load(), 0U);
    EXPECT_EQ(tier->pages(), count);
}

INSTANTIATE_TEST_SUITE_P(Io, FileTierTest, ::testing::Values(IoMode::io_uring, IoMode::blocking),
                         [](const auto& io) { return io.param == IoMode::io_uring ? "IoUring" : "Blocking"; });

}  // namespace
}  // namespace penumbra::vmm
