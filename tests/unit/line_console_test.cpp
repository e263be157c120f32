#include "vmm/devices/line_console.hpp"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace penumbra::vmm {
namespace {

class LineConsoleTest : public testing::Test {
protected:
    void send(std::string_view text) { console_.sent(std::as_bytes(std::span(text))); }
    std::vector<std::string> lines_;
    LineConsole console_{[this](std::string_view line) {
        EXPECT_EQ(highest_rank_held(), 0U);
        lines_.emplace_back(line);
    }};
};

TEST_F(LineConsoleTest, LinesComeOutWithoutTheirEnds) {
    send("hello\r\n\nlog");
    send("in: ");
    EXPECT_EQ(lines_, (std::vector<std::string>{"hello", ""}));
    console_.flush();
    console_.flush();
    EXPECT_EQ(lines_, (std::vector<std::string>{"hello", "", "login: "}));
}

TEST_F(LineConsoleTest, HostileTextIsTamedAndBounded) {
    send("\x1b]0;title\x07\xff\t.\n");
    EXPECT_EQ(lines_, (std::vector<std::string>{"?]0;title?? ."}));
    send(std::string(5000, 'x'));
    ASSERT_EQ(lines_.size(), 5U);
    EXPECT_EQ(lines_.back(), std::string(1024, 'x'));
}

}  // namespace
}  // namespace penumbra::vmm
