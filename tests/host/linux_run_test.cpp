// The real binary on the Linux platform, its console on pipes: what is typed arrives, what is said is heard, and the
// control socket, the clock and the guest itself can stop it, restart it and end it.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/support/child_process.hpp"
#include "tests/support/pc_guest.hpp"
#include "tests/unit/qmp_client.hpp"

namespace penumbra::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using Words = std::vector<std::string>;

class LinuxRun : public testing::Test {
protected:
    void SetUp() override {
        if (::access("/dev/kvm", R_OK | W_OK) != 0) GTEST_SKIP() << "cannot open /dev/kvm: " << std::strerror(errno);
        ASSERT_NE(::mkdtemp(folder_.data()), nullptr);
        pc_guest::write_kernel(at("kernel"));
    }
    ~LinuxRun() override { std::filesystem::remove_all(folder_); }

    [[nodiscard]] std::string at(const std::string& name) const { return folder_ + "/" + name; }
    [[nodiscard]] Words words(const std::string& commands, const Words& extra = {}) const {
        Words all{PENUMBRA_BINARY, "run", "--kernel", at("kernel"), "--append", commands,
                  "--memory",      "32M", "--budget", "32M",        "--json",   at("report")};
        all.insert(all.end(), extra.begin(), extra.end());
        return all;
    }
    [[nodiscard]] ChildStreams streams() const { return {in_.from.get(), out_.to.get(), err_.to.get(), {}}; }
    void type(std::string_view keys) const {
        while (!keys.empty()) {
            const ssize_t count = ::write(in_.to.get(), keys.data(), keys.size());
            ASSERT_GT(count, 0);
            keys.remove_prefix(static_cast<std::size_t>(count));
        }
    }
    [[nodiscard]] std::string outcome() const {
        std::ifstream file{at("report")};
        const std::string text{std::istreambuf_iterator<char>{file}, {}};
        return text.empty() ? "" : std::string(boost::json::parse(text).as_object().at("outcome").as_string());
    }
    [[nodiscard]] std::string complaints() {
        err_.to.reset();
        Hearer said(err_.from.get());
        EXPECT_TRUE(said.hears_the_end());
        return said.heard();
    }
    /// What comes in 200 ms, of what the guest says.
    [[nodiscard]] std::string says_in_a_while() {
        EXPECT_TRUE(console_.look());
        console_.forget();
        std::this_thread::sleep_for(200ms);
        EXPECT_TRUE(console_.look());
        return console_.heard();
    }
    [[nodiscard]] static bool done(const boost::json::object& answer) { return answer.contains("return"); }

    std::string folder_ = (std::filesystem::temp_directory_path() / "penumbra-linux-run-XXXXXX").string();
    Pipe in_;
    Pipe out_;
    Pipe err_;
    Hearer console_{out_.from.get()};
};

TEST_F(LinuxRun, EveryByteOfAPipeArrivesAtAGuestThatIsQuickOrSlow) {
    std::mt19937 random{7};
    for (const std::string commands : {"eo", "so"}) {
        console_.forget();
        std::string bytes(1000, '\0');
        for (char& byte : bytes) byte = static_cast<char>(5 + random() % 250);  // 4 ends the echo
        bytes.replace(100, 2, "\1x");                                           // no keys in a pipe
        Child child(words(commands), streams());
        ASSERT_NO_FATAL_FAILURE(type(bytes + "\4"));
        EXPECT_EQ(child.wait(), 0);
        EXPECT_TRUE(console_.look());
        EXPECT_TRUE(console_.heard() == "ready\n" + bytes) << console_.heard().size() << " bytes: " << commands;
    }
    EXPECT_EQ(complaints(), "");
}

TEST_F(LinuxRun, TheEndOfInputEndsNothingAndCostsNothing) {
    Child child(words("u"), {-1, out_.to.get(), err_.to.get(), {}});
    ASSERT_TRUE(console_.hears("ready\n..."));
    const auto before = child.cpu_time_of("console");
    ASSERT_TRUE(before.has_value()) << "no thread of that name";
    EXPECT_NE(says_in_a_while(), "");
    // It prints what the guest says meanwhile; without pause it would have used all of the time.
    EXPECT_LT(*child.cpu_time_of("console") - *before, 150ms);
    child.send(SIGTERM);
    EXPECT_EQ(child.wait(), 1);
    EXPECT_EQ(outcome(), "interrupted");
}

TEST_F(LinuxRun, AReaderThatWentAwayEndsNothingAndIsToldAtTheEnd) {
    Child child(words("eo"), streams());
    ASSERT_TRUE(console_.hears("ready\n"));
    out_.to.reset();
    out_.from.reset();
    ASSERT_NO_FATAL_FAILURE(type("nobody hears this"));
    std::this_thread::sleep_for(100ms);
    const auto cpu_time = child.cpu_time_of("console");
    std::this_thread::sleep_for(200ms);
    EXPECT_FALSE(child.ended().has_value());
    ASSERT_TRUE(cpu_time.has_value());
    EXPECT_LT(*child.cpu_time_of("console") - *cpu_time, 50ms);
    ASSERT_NO_FATAL_FAILURE(type("\4"));  // once it has said everything, the guest turns itself off
    EXPECT_EQ(child.wait(), 0);
    EXPECT_NE(complaints().find("17 bytes of the guest's console were lost"), std::string::npos);
}

TEST_F(LinuxRun, ThePowerButtonOfTheControlSocketReachesTheGuest) {
    Child child(words("bo", {"--qmp", "unix:" + at("qmp")}), streams());
    ASSERT_TRUE(console_.hears("ready"));
    vmm::QmpClient control(at("qmp"));
    control.begin();
    EXPECT_TRUE(done(control.ask(R"({"execute":"system_powerdown"})"
                                 "\r\n")));
    EXPECT_EQ(child.wait(), 0);
    EXPECT_TRUE(console_.look());
    EXPECT_EQ(console_.heard(), "ready\nbutton\n");
    EXPECT_EQ(outcome(), "ok");
    EXPECT_FALSE(std::filesystem::exists(at("qmp")));
}

TEST_F(LinuxRun, TimeThatRunsOutPressesThePowerButton) {
    const auto begun = Clock::now();
    Child child(words("bo", {"--time", "1"}), streams());
    EXPECT_EQ(child.wait(), 0);
    EXPECT_GE(Clock::now() - begun, 1s);
    EXPECT_TRUE(console_.look());
    EXPECT_EQ(console_.heard(), "ready\nbutton\n");
    EXPECT_EQ(outcome(), "ok");
}

TEST_F(LinuxRun, AStoppedGuestStandsStillAndGoesOn) {
    Child child(words("u", {"--qmp", "unix:" + at("qmp"), "--cpus", "2"}), streams());
    ASSERT_TRUE(console_.hears("ready\n..."));
    vmm::QmpClient control(at("qmp"));
    control.begin();
    for (int round = 0; round < 3; ++round) {
        EXPECT_TRUE(done(control.ask(R"({"execute":"stop"})"
                                     "\r\n")));
        ASSERT_TRUE(comes_true([this] { return says_in_a_while().empty(); })) << "it speaks on";
        ASSERT_NO_FATAL_FAILURE(type("g"));  // ends the dots, once it runs
        EXPECT_EQ(says_in_a_while(), "");
        EXPECT_TRUE(done(control.ask(R"({"execute":"cont"})"
                                     "\r\n")));
        ASSERT_NO_FATAL_FAILURE(type("nu"));
        ASSERT_TRUE(console_.hears("cpus 00000000 \n...")) << console_.heard();
    }
    ASSERT_NO_FATAL_FAILURE(type("oo"));
    EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(outcome(), "ok");
}

TEST_F(LinuxRun, ResetsRestartTheGuestUnlessTheyAreToEndIt) {
    Child child(words(".", {"--qmp", "unix:" + at("qmp")}), streams());
    ASSERT_TRUE(console_.hears("ready\n"));
    vmm::QmpClient control(at("qmp"));
    control.begin();
    EXPECT_TRUE(done(control.ask(R"({"execute":"system_reset"})"
                                 "\r\n")));
    ASSERT_TRUE(console_.hears("ready\nready\n"));
    ASSERT_NO_FATAL_FAILURE(type("r"));
    ASSERT_TRUE(console_.hears("ready\nready\nready\n"));
    ASSERT_NO_FATAL_FAILURE(type("o"));
    EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(outcome(), "ok");

    console_.forget();
    Child once(words("k", {"--no-reboot"}), streams());
    EXPECT_EQ(once.wait(), 0);
    EXPECT_TRUE(console_.look());
    EXPECT_EQ(console_.heard(), "ready\n");
    EXPECT_EQ(outcome(), "reset");
}

TEST_F(LinuxRun, SixtyFourCpusStart) {
    Child child(words("c", {"--cpus", "64"}), streams());
    ASSERT_TRUE(comes_true([this] {
        type("n");
        std::this_thread::sleep_for(10ms);
        return HasFatalFailure() || (console_.look() && console_.heard().find("cpus 0000003f") != std::string::npos);
    })) << console_.heard();
    ASSERT_NO_FATAL_FAILURE(type("o"));
    EXPECT_EQ(child.wait(), 0);
}

}  // namespace
}  // namespace penumbra::test
