#include "vmm/memory/page_state.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace penumbra::vmm {
namespace {

using enum PageState;

constexpr std::array all_states{zero, resident, limbo, packing, compressed, stored, remote};
constexpr std::uint64_t last_version = (1U << page_version_bits) - 1;

PageWord word(PageState state, std::uint64_t version = 0, std::uint64_t handle = 0) {
    PageWord made;
    for (std::uint64_t i = 0; i < version; ++i) made = made.next_version();
    return made.moved_to(state, handle);
}

TEST(PageWord, FieldsDoNotTouchEachOther) {
    const std::uint64_t handle = (std::uint64_t{1} << store_handle_bits) - 1;
    const PageWord packed = word(stored, 5, handle);
    EXPECT_EQ(packed.state(), stored);
    EXPECT_EQ(packed.version(), 5U);
    EXPECT_EQ(packed.handle(), handle);
    EXPECT_EQ(packed.store_handle(), StoreHandle{handle});
    EXPECT_FALSE(packed.hot());
    EXPECT_TRUE(packed.heated().hot());
    EXPECT_EQ(packed.heated().cooled(), packed);
    const PageWord next = packed.heated().next_version();
    EXPECT_EQ(next.version(), 6U);
    EXPECT_EQ(next.handle(), handle);
    EXPECT_TRUE(next.hot());
    EXPECT_EQ(next.moved_to(resident), word(resident, 6)) << "a move takes handle and heat away";
}

TEST(PageWord, VersionWraps) {
    const PageWord last{(last_version << 4) | static_cast<std::uint64_t>(resident)};
    EXPECT_EQ(last.version(), last_version);
    EXPECT_EQ(last.next_version(), word(resident));
    EXPECT_TRUE(is_legal_move(last, last.next_version().moved_to(limbo, 3)));
}

TEST(PageWord, OnlyLimboAndPackingAreInASlot) {
    for (const PageState state : all_states) EXPECT_EQ(word(state).in_slot(), state == limbo || state == packing);
}

TEST(PageWord, LegalMovesAreTheDiagram) {
    const std::vector<std::pair<PageState, PageState>> same_version{
        {zero, resident},    {resident, resident},    {resident, limbo},     {resident, compressed},
        {resident, stored},  {resident, zero},        {resident, packing},   {limbo, packing},
        {limbo, resident},   {limbo, zero},           {packing, compressed}, {packing, stored},
        {packing, resident}, {packing, zero},         {packing, limbo},      {compressed, stored},
        {compressed, zero},  {compressed, resident},  {stored, resident},    {stored, zero},
        {resident, remote},  {packing, remote},       {compressed, remote},  {remote, resident},
        {remote, zero},      {compressed, compressed}};
    for (const PageState from : all_states) {
        for (const PageState to : all_states) {
            const bool listed = std::ranges::find(same_version, std::pair{from, to}) != same_version.end();
            EXPECT_EQ(is_legal_move(word(from, 3), word(to, 3)), listed)
                << static_cast<int>(from) << " to " << static_cast<int>(to);
            // With the next version: taken out of the window, or discarded from anywhere.
            EXPECT_EQ(is_legal_move(word(from, 3), word(to, 4)), to == zero || (from == resident && to == limbo));
            EXPECT_FALSE(is_legal_move(word(from, 3), word(to, 5))) << "a version was passed over";
            EXPECT_FALSE(is_legal_move(word(from, 3), word(to, 2))) << "a version came back";
        }
    }
}

TEST(PageStates, PagesStartAsZero) {
    Result<PageStates> states = PageStates::create(1000);
    ASSERT_TRUE(states);
    EXPECT_EQ(states->pages(), 1000U);
    EXPECT_EQ(states->load(PageIndex{999}), PageWord{});
    EXPECT_TRUE(states->change(PageIndex{5}, PageWord{}, word(resident)));
    EXPECT_FALSE(states->change(PageIndex{5}, PageWord{}, word(resident))) << "the word had moved";
    EXPECT_EQ(states->load(PageIndex{5}), word(resident));
    EXPECT_EQ(states->load(PageIndex{4}), PageWord{});
    EXPECT_EQ(states->load(PageIndex{6}), PageWord{});
}

TEST(PageStates, RacingMovesHaveOneWinner) {
    Result<PageStates> states = PageStates::create(1);
    ASSERT_TRUE(states);
    constexpr PageIndex page{0};
    for (unsigned round = 0; round < 200; ++round) {
        const PageWord before = states->load(page).moved_to(resident);
        if (round == 0) {
            ASSERT_TRUE(states->change(page, PageWord{}, before));
        }
        const PageWord in_limbo = before.next_version().moved_to(limbo, 9);
        ASSERT_TRUE(states->change(page, before, in_limbo));
        // A rescue and a packer both want it.
        std::atomic<unsigned> won{0};
        {
            std::jthread rescue([&] { won += states->change(page, in_limbo, in_limbo.moved_to(resident)) ? 1 : 0; });
            std::jthread pack([&] { won += states->change(page, in_limbo, in_limbo.moved_to(packing, 9)) ? 1 : 0; });
        }
        ASSERT_EQ(won.load(), 1U);
        const PageWord after = states->load(page);
        if (after.state() == packing) {
            ASSERT_TRUE(states->change(page, after, after.moved_to(resident)));
        }
    }
    EXPECT_EQ(states->load(page).version(), 200U);
}

TEST(PageStatesDeathTest, IllegalMovesStopTheProcess) {
    Result<PageStates> states = PageStates::create(2);
    ASSERT_TRUE(states);
    const auto move = [&](PageWord from, PageWord to) { (void)states->change(PageIndex{0}, from, to); };
    EXPECT_DEATH(move(word(zero), word(stored)), "illegal move of a page");
    EXPECT_DEATH(move(word(stored), word(compressed)), "illegal move of a page");
    EXPECT_DEATH(move(word(limbo, 1), word(compressed, 1)), "illegal move of a page");
    EXPECT_DEATH(move(word(compressed, 1), word(resident, 2)), "illegal move of a page");
    EXPECT_DEATH((void)states->load(PageIndex{2}), "page outside the window");
}

}  // namespace
}  // namespace penumbra::vmm
