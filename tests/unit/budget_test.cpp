#include "vmm/memory/budget.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace penumbra::vmm {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

class BudgetTest : public testing::Test {
protected:
    std::atomic<std::uint64_t> pool_{0};
    Budget budget_{10 * 4096, [this] { return pool_.load(); }};
};

TEST_F(BudgetTest, ChargesUpToTheLimit) {
    for (unsigned i = 0; i < 10; ++i) EXPECT_TRUE(budget_.try_charge());
    EXPECT_FALSE(budget_.try_charge());
    EXPECT_EQ(budget_.pages(), 10U) << "a refused charge leaves nothing behind";
    EXPECT_EQ(budget_.charged(), budget_.limit());
    budget_.uncharge(3);
    EXPECT_EQ(budget_.pages(), 7U);
    EXPECT_TRUE(budget_.try_charge());
    EXPECT_EQ(budget_.peak(), budget_.limit());
}

TEST_F(BudgetTest, PoolBytesCountAlike) {
    pool_ = 9 * 4096 + 1;
    EXPECT_FALSE(budget_.try_charge());
    pool_ = 9 * 4096;
    EXPECT_TRUE(budget_.try_charge());
    EXPECT_EQ(budget_.charged(), budget_.limit());
}

TEST_F(BudgetTest, PeakSeesWhatIsOverTheLimit) {
    EXPECT_EQ(budget_.peak(), 0U);
    pool_ = 11 * 4096;
    budget_.note_peak();
    pool_ = 0;
    EXPECT_EQ(budget_.peak(), 11U * 4096);
    pool_ = 20 * 4096;
    budget_.note_peak();
    EXPECT_EQ(budget_.peak(), 20U * 4096);
}

TEST_F(BudgetTest, RacingChargesNeverPassTheLimit) {
    std::vector<std::jthread> threads;
    for (unsigned t = 0; t < 4; ++t) {
        threads.emplace_back([this] {
            for (unsigned i = 0; i < 2000; ++i) {
                if (budget_.try_charge()) budget_.uncharge(1);
            }
        });
    }
    threads.clear();
    EXPECT_EQ(budget_.pages(), 0U);
    EXPECT_LE(budget_.peak(), budget_.limit() + 3 * 4096) << "others' attempts may show in passing, no more";
}

TEST_F(BudgetTest, WaitEndsAtOnceWhenThereIsRoom) {
    EXPECT_TRUE(budget_.wait_for_room(steady_clock::now() + 30s));
    EXPECT_FALSE(budget_.somebody_waits());
}

TEST_F(BudgetTest, WaitEndsAtTheDeadline) {
    pool_ = budget_.limit();
    const auto before = steady_clock::now();
    EXPECT_FALSE(budget_.wait_for_room(before + 20ms));
    EXPECT_GE(steady_clock::now() - before, 20ms);
    EXPECT_FALSE(budget_.somebody_waits());
}

TEST_F(BudgetTest, AnnouncementWakesWhoWaits) {
    pool_ = budget_.limit();
    budget_.announce_room();  // to nobody: not kept
    std::jthread waiter([this] { EXPECT_TRUE(budget_.wait_for_room(steady_clock::now() + 30s)); });
    while (!budget_.somebody_waits()) std::this_thread::yield();
    budget_.announce_room();
    waiter.join();
    EXPECT_FALSE(budget_.somebody_waits());
}

}  // namespace
}  // namespace penumbra::vmm
