// What churn is made of: the layout of its pages, the orders it walks them in, and the sum it judges them by.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "tests/unit/churn_test_machine.hpp"

namespace penumbra::guest {
namespace {

TEST(ChurnLayout, EveryTestedPageHasOneOwnerAndLiesInRam) {
    for (const std::uint64_t cpus : {1U, 2U, 3U, 5U}) {
        TestMachine machine;
        machine.boot.cpus = cpus;
        const ChurnLayout layout(machine.boot);
        ASSERT_TRUE(layout.usable());
        std::vector<int> owners(layout.pages());
        for (std::uint64_t cpu = 0; cpu < cpus; ++cpu) {
            for (std::uint64_t own = 0; own < layout.owned(cpu); ++own) ++owners.at(layout.page(cpu, own));
        }
        EXPECT_EQ(owners, std::vector<int>(layout.pages(), 1));
        EXPECT_GE(layout.gpa(0), layout.state(layout.pages()));
        EXPECT_GE(layout.control(), image_end);
        EXPECT_EQ(layout.gpa(layout.pages() - 1), abi::high_ram_base + high_bytes - page_bytes);
        EXPECT_EQ((layout.gpa(0) + (layout.pages() * page_bytes - high_bytes)), low_bytes);
    }
}

template <class Order>
std::vector<int> visits(Order order, std::uint64_t n, std::uint64_t count) {
    std::vector<int> seen(n);
    for (; count != 0; --count) ++seen.at(order.next());
    return seen;
}

TEST(ChurnOrder, SequentialAndStridedReachEveryPageOnce) {
    for (const std::uint64_t n : {512U, 1021U, 2042U, 4000U}) {
        EXPECT_EQ(visits(SequentialOrder(), n, n), std::vector<int>(n, 1));
        EXPECT_EQ(visits(StridedOrder(n), n, n), std::vector<int>(n, 1));
    }
}

TEST(ChurnOrder, ZipfPrefersFewPagesAndUniformNone) {
    constexpr std::uint64_t n = 65536;
    auto zipf = visits(ZipfOrder(n, 3), n, 10 * n);
    std::sort(zipf.rbegin(), zipf.rend());
    EXPECT_NEAR(zipf.front() / (10.0 * n), 0.035, 0.005);
    std::uint64_t hottest_tenth = 0;
    for (std::size_t i = 0; i < n / 10; ++i) hottest_tenth += static_cast<std::uint64_t>(zipf[i]);
    EXPECT_NEAR(static_cast<double>(hottest_tenth) / (10.0 * n), 0.7, 0.1);
    auto uniform = visits(UniformOrder(n, 3), n, 10 * n);
    EXPECT_LT(*std::max_element(uniform.begin(), uniform.end()), 40);
}

TEST(Crc32c, KnownSumsAndThreeChainsAgreeWithOne) {
    alignas(8) std::uint8_t bytes[32] = {};
    EXPECT_EQ(crc32c(bytes, sizeof(bytes)), 0x8A91'36AAU);
    std::memset(bytes, 0xFF, sizeof(bytes));
    EXPECT_EQ(crc32c(bytes, sizeof(bytes)), 0x62A8'AB43U);

    std::vector<std::uint64_t> words(512);
    Random random(1);
    for (auto& word : words) word = random.next();
    const auto* const page = reinterpret_cast<const std::uint8_t*>(words.data());
    for (const std::size_t hole : {0U, 2U, 169U, 170U, 171U, 340U, 509U, 510U, 511U}) {
        const std::uint64_t saved = words[hole];
        const std::uint32_t with_hole = crc32c_of_page(page, hole);
        words[hole] = 0;
        std::uint64_t chain = 0xFFFF'FFFF;
        for (const std::uint64_t word : words) chain = detail::crc_word(chain, word);
        EXPECT_EQ(with_hole, static_cast<std::uint32_t>(~chain)) << hole;
        EXPECT_EQ(with_hole, crc32c(page, page_bytes)) << hole;
        words[hole] = saved;
    }
}

}  // namespace
}  // namespace penumbra::guest
