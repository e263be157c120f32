#include "vmm/control/progress.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace penumbra::vmm {
namespace {

using namespace std::chrono_literals;

struct Screen {
    std::chrono::steady_clock::time_point now{};
    std::vector<std::string> writes;

    [[nodiscard]] Progress progress(ProgressStyle style, unsigned columns = 200) {
        return Progress{style, columns, [this](std::string_view text) { writes.emplace_back(text); },
                        [this] { return now; }};
    }
    [[nodiscard]] bool has_control_codes() const {
        for (const std::string& text : writes) {
            if (text.find_first_of("\r\x1b\b") != std::string::npos) return true;
        }
        return false;
    }
};

TEST(Progress, BarIsDrawnAtMostTenTimesASecond) {
    Screen screen;
    Progress progress = screen.progress(ProgressStyle::bar);
    for (int step = 0; step < 1000; ++step) {
        progress.update({.fraction = 0.5});
        screen.now += 1ms;
    }
    EXPECT_EQ(screen.writes.size(), 10U);
}

TEST(Progress, BarReplacesItselfAndLeavesTheLineClean) {
    Screen screen;
    {
        Progress progress = screen.progress(ProgressStyle::bar);
        progress.update({.fraction = 0.25, .pages_verified = 1234, .resident_bytes = 4096});
        ASSERT_EQ(screen.writes.size(), 1U);
        EXPECT_TRUE(screen.writes[0].starts_with("\r\x1b[2K[#####...............]  25 %"));
        EXPECT_NE(screen.writes[0].find("1,234 pages verified, resident 4K"), std::string::npos);
        EXPECT_EQ(screen.writes[0].find('\n'), std::string::npos);
        progress.finish();
        progress.finish();
    }
    ASSERT_EQ(screen.writes.size(), 2U);
    EXPECT_EQ(screen.writes[1], "\r\x1b[2K");
}

TEST(Progress, BarNeverReachesTheLastColumn) {
    for (const unsigned columns : {1U, 20U, 60U, 80U}) {
        Screen screen;
        Progress progress = screen.progress(ProgressStyle::bar, columns);
        progress.update({.fraction = 1.5, .pages_verified = ~std::uint64_t{0}});
        ASSERT_EQ(screen.writes.size(), 1U);
        EXPECT_LT(screen.writes[0].size() - std::string_view{"\r\x1b[2K"}.size(), columns);
    }
}

TEST(Progress, PlainLinesComeEveryFiveSecondsWithoutControlCodes) {
    Screen screen;
    {
        Progress progress = screen.progress(ProgressStyle::plain);
        for (int step = 0; step <= 120; ++step) {
            progress.update({.fraction = step / 120.0});
            screen.now += 100ms;
        }
    }
    ASSERT_EQ(screen.writes.size(), 2U);  // at 5 s and 10 s
    EXPECT_FALSE(screen.has_control_codes());
    EXPECT_TRUE(screen.writes[0].ends_with("\n"));
}

TEST(Progress, TellsFaultRateAndTimeLeft) {
    Screen screen;
    Progress progress = screen.progress(ProgressStyle::plain);
    screen.now += 5s;
    progress.update({.fraction = 0.25, .faults = 10'000});
    ASSERT_EQ(screen.writes.size(), 1U);
    EXPECT_NE(screen.writes[0].find(" 25 %, 15 s left, "), std::string::npos) << screen.writes[0];
    EXPECT_TRUE(screen.writes[0].ends_with(" 2,000 faults/s\n")) << screen.writes[0];
    screen.now += 5s;
    progress.update({.fraction = 0.5, .faults = 10'005});
    EXPECT_NE(screen.writes[1].find(" 50 %, 10 s left, "), std::string::npos) << screen.writes[1];
    EXPECT_TRUE(screen.writes[1].ends_with(" 1 faults/s\n")) << screen.writes[1];
}

TEST(Progress, AnUnknownEndHasNoPercentageAndNoTimeLeft) {
    Screen screen;
    Progress progress = screen.progress(ProgressStyle::plain);
    screen.now += 5s;
    progress.update({.fraction = -1});
    ASSERT_EQ(screen.writes.size(), 1U);
    EXPECT_EQ(screen.writes[0].find('%'), std::string::npos);
    EXPECT_EQ(screen.writes[0].find("left"), std::string::npos);
}

TEST(Progress, AFileIsNoTerminal) {
    std::FILE* file = std::tmpfile();
    ASSERT_NE(file, nullptr);
    {
        Progress progress = Progress::on(file);
        progress.update({.fraction = 0.5});
    }
    EXPECT_EQ(std::ftell(file), 0);
    std::fclose(file);
}

}  // namespace
}  // namespace penumbra::vmm
