// Pages that come back for reading keep their copies in the tiers, over a whole MemorySystem: what leaves unchanged is
// neither compressed nor written again, what was changed is, and no copy is lost, leaked or dropped twice.
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <random>
#include <string>

#include "base/planted.hpp"
#include "tests/support/library_pages.hpp"
#include "vmm/memory/memory_system.hpp"

namespace penumbra::vmm {
namespace {

using penumbra::test::library_pages;
using penumbra::test::Page;

constexpr std::uint64_t mebibyte = 1ULL << 20;
constexpr Gfn first{0x400};
constexpr std::uint64_t count = 600;

enum class Tiers : std::uint8_t { compressed, file, both };

class KeptCopiesTest : public testing::TestWithParam<Tiers> {
protected:
    void SetUp() override {
        MemoryOptions options;
        options.memory_bytes = 32 * mebibyte;
        options.budget_bytes = 64 * mebibyte;  // nothing leaves but what the test takes out
        options.compress = GetParam() != Tiers::file;
        if (GetParam() != Tiers::compressed) options.swap_path = path_;
        auto made = MemorySystem::create(std::move(options));
        ASSERT_TRUE(made) << made.error().message();
        memory_ = std::move(*made);
        for (std::uint64_t i = 0; i < count; ++i) put(i, pages_[i % pages_.size()]);
    }
    void TearDown() override {
        memory_.reset();
        std::filesystem::remove(path_);
    }

    static Gpa at(std::uint64_t page) { return address_of(first + page); }
    void put(std::uint64_t page, const Page& bytes) {
        ASSERT_TRUE(memory_->write(at(page), bytes));
        expected_[page] = bytes;
    }
    void change(std::uint64_t page, std::uint64_t number) {
        std::memcpy(expected_[page].data() + number % 500 * 8, &number, sizeof(number));
        ASSERT_TRUE(memory_->write(at(page) + number % 500 * 8,
                                   std::span{expected_[page].data() + number % 500 * 8, sizeof(number)}));
    }
    [[nodiscard]] bool is_right(std::uint64_t page) {
        Page bytes{};
        return memory_->read(at(page), bytes) && bytes == expected_[page];
    }
    [[nodiscard]] std::uint64_t wrong_pages() {
        std::uint64_t wrong = 0;
        for (std::uint64_t i = 0; i < count; ++i) {
            if (!is_right(i)) ++wrong;
        }
        return wrong;
    }
    [[nodiscard]] PageWord word(std::uint64_t page) {
        const PagerState& state = memory_->state();
        return state.words.load(state.index_of(*memory_->ept().memslots().to_host(first + page)));
    }
    /// Out of the window, out of limbo.
    void send_all_out() {
        (void)memory_->evict_everything();
        ASSERT_TRUE(memory_->reclaimer().wait_for_slots(memory_->state().limbo->slots()));
    }
    /// What the tiers hold for pages in the window, too.
    [[nodiscard]] std::uint64_t stored() {
        PagerState& state = memory_->state();
        return (state.compressed ? state.compressed->pages() : 0) +
               (state.slow.file() != nullptr ? state.slow.file()->pages() : 0);
    }
    [[nodiscard]] std::uint64_t served() { return memory_->state().copies.times_served().get(); }

    const std::string path_ = std::filesystem::temp_directory_path() / ("kept-" + std::to_string(::getpid()));
    const std::vector<Page> pages_ = library_pages(count);
    std::unique_ptr<MemorySystem> memory_;
    std::map<std::uint64_t, Page> expected_;
};

INSTANTIATE_TEST_SUITE_P(Tiers, KeptCopiesTest, testing::Values(Tiers::compressed, Tiers::file, Tiers::both),
                         [](const auto& tiers) {
                             if (tiers.param == Tiers::both) return std::string("Both");
                             return std::string(tiers.param == Tiers::file ? "File" : "Compressed");
                         });

TEST_P(KeptCopiesTest, WhatIsOnlyReadIsStoredOnce) {
    send_all_out();
    const std::uint64_t once = stored();
    ASSERT_GE(once, count);
    for (unsigned round = 0; round < 3; ++round) {
        ASSERT_EQ(wrong_pages(), 0U);
        EXPECT_EQ(stored(), once) << "the copies are kept";
        const std::uint64_t before = served();
        send_all_out();
        EXPECT_GE(served() - before, count);
        EXPECT_EQ(stored(), once);
    }
    EXPECT_EQ(memory_->state().copies.kept(), 0U) << "all pages are out: no copy is beside one";
}

TEST_P(KeptCopiesTest, WhatWasChangedIsStoredAnew) {
    send_all_out();
    ASSERT_EQ(wrong_pages(), 0U);
    for (std::uint64_t page = 0; page < count; page += 3) change(page, page + 7);
    const std::uint64_t before = served();
    send_all_out();
    EXPECT_LE(served() - before, count - count / 3);
    EXPECT_EQ(wrong_pages(), 0U);
}

TEST_P(KeptCopiesTest, AWriteFaultKeepsNone) {
    send_all_out();
    for (std::uint64_t page = 0; page < count; ++page) change(page, page + 7);
    for (std::uint64_t page = 0; page < count; ++page) EXPECT_FALSE(word(page).copy().exists());
    EXPECT_EQ(wrong_pages(), 0U);
}

TEST_P(KeptCopiesTest, CopiesGoWhereTheirRoomIsNeeded) {
    send_all_out();
    ASSERT_EQ(wrong_pages(), 0U);
    const std::uint64_t with = stored();
    Reclaimer& reclaimer = memory_->reclaimer();
    const auto drop = [&](std::size_t most) {
        const std::size_t dropped = reclaimer.drop_copies(CopyTier::compressed, most);
        return dropped + reclaimer.drop_copies(CopyTier::file, most - dropped);
    };
    EXPECT_EQ(drop(100), 100U);
    EXPECT_EQ(stored(), with - 100);
    EXPECT_GE(drop(10'000), count - 100);
    EXPECT_EQ(drop(10'000), 0U);
    send_all_out();
    EXPECT_EQ(wrong_pages(), 0U);
}

TEST_P(KeptCopiesTest, NothingIsLeftBehind) {
    send_all_out();
    ASSERT_EQ(wrong_pages(), 0U);
    (void)memory_->evict_everything();  // some are in limbo with their copies, some packed
    memory_->discard_everything();
    ASSERT_TRUE(memory_->reclaimer().wait_for_slots(memory_->state().limbo->slots()));
    EXPECT_EQ(stored(), 0U);
    EXPECT_EQ(memory_->state().copies.kept(), 0U);
}

/// Readers, writers, evictions and packing at once, by seed.
std::uint64_t storm(MemorySystem& memory, std::map<std::uint64_t, Page>& expected, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::uint64_t wrong = 0;
    Page bytes{};
    for (unsigned step = 0; step < 8'000; ++step) {
        const std::uint64_t page = random() % count;
        switch (random() % 8) {
            case 0: {
                const std::uint64_t number = random();
                std::byte* const to = expected[page].data() + number % 500 * 8;
                std::memcpy(to, &number, sizeof(number));
                if (!memory.write(address_of(first + page) + number % 500 * 8, std::span{to, sizeof(number)})) ++wrong;
                break;
            }
            case 1:
                if (random() % 16 == 0) (void)memory.reclaimer().evict(64, bridge::Blockable::yes);
                break;
            case 2:
                if (random() % 16 == 0) (void)memory.reclaimer().wait_for_slots(memory.state().limbo->slots());
                break;
            case 3:
                if (random() % 256 == 0) (void)memory.reclaimer().drop_copies(CopyTier::compressed, 16);
                break;
            default:
                if (!memory.read(address_of(first + page), bytes) || bytes != expected[page]) ++wrong;
        }
    }
    return wrong;
}

TEST_P(KeptCopiesTest, AStormOfReadsWritesAndEvictionsLosesNothing) {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) ASSERT_EQ(storm(*memory_, expected_, seed), 0U) << "seed " << seed;
    EXPECT_EQ(wrong_pages(), 0U);
    EXPECT_GT(served(), 0U);
}

#if defined(PENUMBRA_TEST_SWITCHES)

TEST_P(KeptCopiesTest, ACopyThatIsBelievedUnseenIsNoticed) {
    const Planted bug(Plant::copy_unchecked);
    EXPECT_GT(storm(*memory_, expected_, 1) + wrong_pages(), 0U);
}

#endif

}  // namespace
}  // namespace penumbra::vmm
