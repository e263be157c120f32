#include "vmm/devices/io_loop.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

#include "tests/support/dma_loop.hpp"

namespace penumbra::test {
namespace {

TEST(IoLoop, RunsInOrderOnItsThread) {
    vmm::IoLoop loop("a-loop");
    std::vector<int> seen;
    std::atomic<bool> done{false};
    for (int i = 0; i < 5; ++i) loop.post([&, i] { seen.push_back(i); });
    EXPECT_FALSE(loop.on_thread());
    loop.post([&] {
        EXPECT_TRUE(loop.on_thread());
        EXPECT_EQ(ThreadRegister::self()->role.load(), ThreadRole::device);
        done = true;
    });
    EXPECT_TRUE(seen.empty());
    loop.start();
    EXPECT_TRUE(becomes_true([&] { return done.load(); }));
    loop.stop();
    loop.stop();
    EXPECT_EQ(seen, (std::vector{0, 1, 2, 3, 4}));
    loop.post([&] { seen.push_back(5); });
    EXPECT_EQ(seen.size(), 5U);
}

}  // namespace
}  // namespace penumbra::test
