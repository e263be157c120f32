// The real binary on a terminal: the guest gets every key, Ctrl-A x ends the run, and however it ends the terminal is
// as it was before.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/support/child_process.hpp"
#include "tests/support/pc_guest.hpp"

namespace penumbra::test {
namespace {

class TerminalTest : public testing::Test {
protected:
    TerminalTest() {
        EXPECT_NE(::mkdtemp(folder_.data()), nullptr);
        pc_guest::write_kernel(at("kernel"));
        termios odd = terminal_.settings();  // a user's own taste comes back too
        odd.c_cc[VERASE] = 8;
        odd.c_lflag &= ~static_cast<tcflag_t>(ECHOE);
        terminal_.set(odd);
        before_ = terminal_.settings();
    }
    ~TerminalTest() override { std::filesystem::remove_all(folder_); }

    static void need_kvm() {
        if (::access("/dev/kvm", R_OK | W_OK) != 0) GTEST_SKIP() << "cannot open /dev/kvm: " << std::strerror(errno);
    }
    [[nodiscard]] std::string at(const std::string& name) const { return folder_ + "/" + name; }
    [[nodiscard]] std::vector<std::string> words(const std::string& commands) const {
        return {PENUMBRA_BINARY, "run",      "--kernel", at("kernel"), "--append",
                commands,        "--memory", "32M",      "--budget",   "32M"};
    }
    [[nodiscard]] ChildStreams streams() const { return {.terminal = terminal_.path()}; }
    /// The guest has begun, so the terminal is its own.
    void expect_guest() {
        ASSERT_TRUE(screen_.hears("ready\r\n")) << screen_.heard();
        ASSERT_TRUE(terminal_.is_raw());
    }
    void expect_as_before() { EXPECT_TRUE(same_settings(terminal_.settings(), before_)); }

    std::string folder_ = (std::filesystem::temp_directory_path() / "penumbra-terminal-XXXXXX").string();
    Terminal terminal_;
    termios before_{};
    Hearer screen_{terminal_.user()};
};

TEST_F(TerminalTest, EveryKeyIsTheGuestsButThoseThatEndTheRun) {
    need_kvm();
    if (IsSkipped()) return;
    Child child(words("e"), streams());
    ASSERT_NO_FATAL_FAILURE(expect_guest());
    screen_.forget();
    // Ctrl-A Ctrl-A is one Ctrl-A; interrupt, stop, quit, line editing, flow control and Ctrl-A c mean nothing to us.
    terminal_.type("a\1\1b\3\032\034\177\025\023\021\1cz");
    ASSERT_TRUE(screen_.hears("z")) << screen_.heard();
    EXPECT_EQ(screen_.heard(), "a\1b\3\032\034\177\025\023\021\1cz");
    EXPECT_FALSE(child.ended().has_value());
    terminal_.type("\1x");
    EXPECT_EQ(child.wait(), 1) << "ended by its user";
    expect_as_before();
}

TEST_F(TerminalTest, ItComesBackWhenTheGuestTurnsItselfOff) {
    need_kvm();
    if (IsSkipped()) return;
    Child child(words("eo"), streams());
    ASSERT_NO_FATAL_FAILURE(expect_guest());
    terminal_.type("\4");
    EXPECT_EQ(child.wait(), 0);
    expect_as_before();
}

TEST_F(TerminalTest, ItComesBackBySignalsThatEndTheRun) {
    need_kvm();
    if (IsSkipped()) return;
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
        screen_.forget();
        Child child(words("e"), streams());
        ASSERT_NO_FATAL_FAILURE(expect_guest());
        child.send(signal);
        EXPECT_EQ(child.wait(), 1) << signal;
        expect_as_before();
    }
}

TEST_F(TerminalTest, ItComesBackWhenTheProcessDies) {
    need_kvm();
    if (IsSkipped()) return;
    for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGQUIT}) {
        screen_.forget();
        Child child(words("e"), streams());
        ASSERT_NO_FATAL_FAILURE(expect_guest());
        child.send(signal);
        EXPECT_EQ(child.wait(), -signal) << "it dies of it all the same";
        expect_as_before();
    }
}

TEST_F(TerminalTest, ItComesBackWhenTheMachineCannotBeMade) {
    for (const char* disk : {"missing", "kernel/none"}) {
        Pipe err;
        ChildStreams with_errors = streams();
        with_errors.err = err.to.get();
        std::vector<std::string> with_disk = words("e");
        with_disk.insert(with_disk.end(), {"--disk", at(disk)});
        Child child(with_disk, with_errors);
        EXPECT_EQ(child.wait(), 2);
        err.to.reset();
        Hearer said(err.from.get());
        EXPECT_TRUE(said.hears_the_end());
        EXPECT_NE(said.heard().find("penumbra: cannot "), std::string::npos);
        expect_as_before();
    }
}

TEST_F(TerminalTest, ItIsTheGuestsAgainAfterAStop) {
    need_kvm();
    if (IsSkipped()) return;
    Child child(words("e"), streams());
    ASSERT_NO_FATAL_FAILURE(expect_guest());
    child.send(SIGSTOP);
    terminal_.set(before_);  // as a shell would
    child.send(SIGCONT);
    EXPECT_TRUE(comes_true([this] { return terminal_.is_raw(); }));
    screen_.forget();
    terminal_.type("again");
    EXPECT_TRUE(screen_.hears("again"));
    terminal_.type("\1x");
    EXPECT_EQ(child.wait(), 1);
    expect_as_before();
}

TEST_F(TerminalTest, ATerminalThatGoesAwayEndsTheRun) {
    need_kvm();
    if (IsSkipped()) return;
    auto lost = std::make_unique<Terminal>();
    Hearer screen(lost->user());
    Child child(words("e"), {.terminal = lost->path()});
    ASSERT_TRUE(screen.hears("ready"));
    lost.reset();  // the kernel sends SIGHUP
    EXPECT_EQ(child.wait(), 1);
}

}  // namespace
}  // namespace penumbra::test
