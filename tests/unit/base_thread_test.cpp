#include <gtest/gtest.h>
#include <pthread.h>

#include <array>
#include <atomic>
#include <latch>

#include "base/thread.hpp"

namespace penumbra {
namespace {

TEST(Thread, RunsUnderItsNameWithItsRole) {
    std::array<char, 16> name{};
    ThreadRole role = ThreadRole::foreign;
    std::uint32_t index = 0;
    Thread thread(
        "a-name-that-is-too-long", ThreadRole::vcpu,
        [&] {
            ::pthread_getname_np(::pthread_self(), name.data(), name.size());
            role = ThreadRegister::self()->role.load();
            index = ThreadRegister::self()->index.load();
        },
        3);
    thread.join();
    EXPECT_STREQ(name.data(), "a-name-that-is-");
    EXPECT_EQ(role, ThreadRole::vcpu);
    EXPECT_EQ(index, 3U);
}

TEST(Thread, DestructorAndAssignmentJoin) {
    std::atomic<int> done{0};
    {
        Thread thread("first", ThreadRole::vmm, [&done] { ++done; });
        thread = Thread("second", ThreadRole::vmm, [&done] { ++done; });
        EXPECT_GE(done.load(), 1);
    }
    EXPECT_EQ(done.load(), 2);
}

TEST(ThreadRegister, FindsALiveThreadAndForgetsADeadOne) {
    std::atomic<pid_t> tid{0};
    std::latch started{1};
    std::latch looked{1};
    Thread thread("device", ThreadRole::device, [&] {
        tid = current_tid();
        started.count_down();
        looked.wait();
    });
    started.wait();
    const ThreadRegister::Entry* entry = ThreadRegister::instance().find(tid);
    const bool found = entry != nullptr;
    const ThreadRole role = found ? entry->role.load() : ThreadRole::foreign;
    looked.count_down();
    thread.join();
    EXPECT_TRUE(found);
    EXPECT_EQ(role, ThreadRole::device);
    EXPECT_EQ(ThreadRegister::instance().find(tid), nullptr);
}

TEST(ThreadRegister, ThreadsNobodyRegisteredAreForeign) {
    EXPECT_EQ(ThreadRegister::self(), nullptr);
    EXPECT_EQ(ThreadRegister::instance().find(current_tid()), nullptr);
}

TEST(ThreadRegister, InGuestHoldsForItsScopeOnly) {
    ThreadRoleScope scope(ThreadRole::vcpu, 1);
    EXPECT_EQ(ThreadRegister::self(), &scope.entry());
    {
        const InGuestScope inside(scope.entry());
        EXPECT_TRUE(scope.entry().in_guest.load());
    }
    EXPECT_FALSE(scope.entry().in_guest.load());
}

TEST(ThreadRegister, SlotsAreUsedAgain) {
    for (int i = 0; i < 3000; ++i) {
        const ThreadRoleScope scope(ThreadRole::vmm);
        ASSERT_NE(ThreadRegister::self(), nullptr);
    }
}

TEST(ThreadRegisterDeathTest, RegisteringTwiceStopsTheProcess) {
    const ThreadRoleScope scope(ThreadRole::vmm);
    EXPECT_DEATH((void)ThreadRegister::instance().enter(ThreadRole::vcpu), "thread registered twice");
}

}  // namespace
}  // namespace penumbra
