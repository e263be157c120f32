// Watches over a window without a kernel: what is protected, in how many calls, and what is answered.
#include "shadow-mmu/tables/watched_window.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <set>

#include "shadow-mmu/fault/fault_handler.hpp"
#include "tests/support/fake_window.hpp"

namespace penumbra::test {
namespace {

using mmu::EntryExchange;
using mmu::EntryProblem;
using mmu::WatchRequest;
using mmu::WatchResult;

class WatchedWindow : public testing::Test {
protected:
    static constexpr Gfn first{16};
    static constexpr std::uint64_t pages = 16;
    static constexpr Gfn outside = first + pages;

    void SetUp() override {
        for (Gfn gfn = first; gfn < outside; ++gfn) put_in(gfn);
    }
    void put_in(Gfn gfn) { ASSERT_TRUE(mmu::handle_fault(ept_, pager_, gfn, mmu::FaultAccess::write)); }
    [[nodiscard]] Hvp host(Gfn gfn) const { return *ept_.memslots().to_host(gfn); }
    void evict(Gfn gfn) { (void)swap_out(space_, pager_, bridge::RangeSet{HvpRange{host(gfn), 1}}, staging_); }
    [[nodiscard]] bool is_protected(Gfn gfn) const { return window_.is_protected(host(gfn)); }
    [[nodiscard]] WatchResult watch(Gfn gfn) {
        WatchRequest request{gfn};
        watched_.watch(std::span(&request, 1));
        return request.result;
    }

    FakeWindow window_{pages};
    FakePages pager_{window_.pages()};
    mmu::EptTable ept_{mmu::Memslots({{GfnRange{first, pages}, window_.pages().first()}}),
                       std::move(*mmu::NodeArena::create(8)), window_};
    bridge::AddressSpace space_;
    bridge::Subscription subscription_ = space_.subscribe(ept_);
    MappedRegion staging_ = make_region(1);
    std::set<Hvp> in_use_;
    mmu::WatchedWindow watched_{ept_, window_, [this](Hvp page) { return in_use_.contains(page); }};
};

TEST_F(WatchedWindow, NeighboursAreProtectedInOneCall) {
    evict(first + 2);
    in_use_.insert(host(first + 5));
    std::array<WatchRequest, 6> requests{{{first}, {first + 1}, {first + 2}, {first + 4}, {first + 5}, {outside}}};
    watched_.watch(requests);
    constexpr std::array expected{WatchResult::watched, WatchResult::watched, WatchResult::absent,
                                  WatchResult::watched, WatchResult::absent,  WatchResult::refused};
    for (std::size_t i = 0; i < requests.size(); ++i) {
        EXPECT_EQ(requests[i].result, expected[i]) << i;
        if (requests[i].gfn != outside) {
            EXPECT_EQ(is_protected(requests[i].gfn), expected[i] == WatchResult::watched) << i;
        }
    }
    EXPECT_EQ(window_.protections(), 2U);
    EXPECT_EQ(window_.violations(), 0U);
    const std::array ended{first, first + 1, first + 4, outside};
    watched_.unwatch(ended);
    for (Gfn gfn = first; gfn < outside; ++gfn) EXPECT_FALSE(is_protected(gfn));
}

TEST_F(WatchedWindow, NothingStaysProtectedWhereTheWindowRefuses) {
    window_.refuse_protection(true);
    EXPECT_EQ(watch(first), WatchResult::refused);
    EXPECT_FALSE(is_protected(first));
    window_.refuse_protection(false);
    EXPECT_EQ(watch(first), WatchResult::watched);
}

TEST_F(WatchedWindow, AnEvictedPageComesBackUnwatched) {
    EXPECT_EQ(watch(first), WatchResult::watched);
    evict(first);
    EXPECT_EQ(watch(first), WatchResult::absent);
    watched_.unwatch(std::array{first});
    put_in(first);
    EXPECT_FALSE(is_protected(first));
    EXPECT_EQ(watch(first), WatchResult::watched);
}

TEST_F(WatchedWindow, NothingIsWatchedAfterTheEnd) {
    EXPECT_EQ(watch(first), WatchResult::watched);
    watched_.stop();
    EXPECT_FALSE(is_protected(first));
    EXPECT_EQ(watch(first + 1), WatchResult::refused);
    EXPECT_FALSE(is_protected(first + 1));
}

TEST_F(WatchedWindow, EntriesAreThoseOfPresentPages) {
    const Gpa entry = address_of(first) + 24;
    EXPECT_EQ(watched_.compare_exchange(entry, 0, 7), EntryExchange::done);
    EXPECT_EQ(watched_.compare_exchange(entry, 0, 8), EntryExchange::changed);
    EXPECT_EQ(watched_.read(entry).value(), 7U);
    EXPECT_TRUE(watched_.present(first));
    evict(first);
    EXPECT_FALSE(watched_.present(first));
    EXPECT_EQ(watched_.read(entry).error(), EntryProblem::absent);
    EXPECT_EQ(watched_.compare_exchange(entry, 7, 8), EntryExchange::absent);
    EXPECT_EQ(watched_.read(address_of(outside)).error(), EntryProblem::not_ram);
    EXPECT_EQ(watched_.compare_exchange(address_of(outside), 0, 1), EntryExchange::not_ram);
    put_in(first);
    EXPECT_EQ(watched_.read(entry).value(), 7U);
}

}  // namespace
}  // namespace penumbra::test
