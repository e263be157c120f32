#include "tests/support/child_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "base/assert.hpp"

namespace penumbra::test {

namespace {

using Clock = std::chrono::steady_clock;

/// Those of a terminal and of a pipe agree in what they say at their end.
bool read_more(int fd, std::string& into) {
    std::array<char, 65536> buffer{};
    const ssize_t count = ::read(fd, buffer.data(), buffer.size());
    if (count > 0) into.append(buffer.data(), static_cast<std::size_t>(count));
    return count > 0;
}

bool ready(int fd, std::chrono::milliseconds patience) {
    pollfd readable{fd, POLLIN, 0};
    return ::poll(&readable, 1, static_cast<int>(patience.count())) == 1;
}

}  // namespace

bool Hearer::look() {
    while (ready(fd_, std::chrono::milliseconds{0})) {
        if (!read_more(fd_, heard_)) return false;
    }
    return true;
}

bool Hearer::hears(const std::string& part, std::chrono::seconds limit) {
    const auto deadline = Clock::now() + limit;
    while (heard_.find(part) == std::string::npos) {
        if (Clock::now() > deadline) return false;
        if (ready(fd_, std::chrono::milliseconds{100}) && !read_more(fd_, heard_)) return false;
    }
    return true;
}

bool Hearer::hears_the_end(std::chrono::seconds limit) {
    const auto deadline = Clock::now() + limit;
    while (Clock::now() < deadline) {
        if (ready(fd_, std::chrono::milliseconds{100}) && !read_more(fd_, heard_)) return true;
    }
    return false;
}

Pipe::Pipe() {
    std::array<int, 2> ends{};
    PENUMBRA_ASSERT(::pipe2(ends.data(), O_CLOEXEC) == 0, "a pipe");
    from.reset(ends[0]);
    to.reset(ends[1]);
}

Terminal::Terminal() : user_(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)) {
    std::array<char, 128> name{};
    const bool made = user_ && ::grantpt(user_.get()) == 0 && ::unlockpt(user_.get()) == 0 &&
                      ::ptsname_r(user_.get(), name.data(), name.size()) == 0;
    PENUMBRA_ASSERT(made, "a terminal");
    path_ = name.data();
    program_.reset(::open(path_.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
}

void Terminal::type(const std::string& keys) const {
    const ssize_t written = ::write(user_.get(), keys.data(), keys.size());
    PENUMBRA_ASSERT(written == static_cast<ssize_t>(keys.size()), "a terminal that takes a few keys");
}

termios Terminal::settings() const {
    termios settings{};
    PENUMBRA_ASSERT(::tcgetattr(program_.get(), &settings) == 0, "a terminal");
    return settings;
}

void Terminal::set(const termios& settings) const {
    PENUMBRA_ASSERT(::tcsetattr(program_.get(), TCSANOW, &settings) == 0, "a terminal");
}

bool Terminal::is_raw() const {
    const termios now = settings();
    return (now.c_lflag & static_cast<tcflag_t>(ICANON | ECHO | ISIG)) == 0 &&
           (now.c_iflag & static_cast<tcflag_t>(IXON | ICRNL)) == 0;
}

bool same_settings(const termios& a, const termios& b) {
    return a.c_iflag == b.c_iflag && a.c_oflag == b.c_oflag && a.c_cflag == b.c_cflag && a.c_lflag == b.c_lflag &&
           std::ranges::equal(a.c_cc, b.c_cc);
}

Child::Child(std::vector<std::string> words, const ChildStreams& streams) {
    const rlimit none{0, 0};
    (void)::setrlimit(RLIMIT_CORE, &none);
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    const auto give = [&](int from, int to, int flags) {
        if (from >= 0) {
            ::posix_spawn_file_actions_adddup2(&actions, from, to);
        } else {
            ::posix_spawn_file_actions_addopen(&actions, to, "/dev/null", flags, 0);
        }
    };
    posix_spawnattr_t attributes;
    ::posix_spawnattr_init(&attributes);
    if (streams.terminal.empty()) {
        give(streams.in, STDIN_FILENO, O_RDONLY);
        give(streams.out, STDOUT_FILENO, O_WRONLY);
    } else {
        // The first terminal that a session's leader opens is the session's.
        ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
        ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, streams.terminal.c_str(), O_RDWR, 0);
        give(streams.out >= 0 ? streams.out : STDIN_FILENO, STDOUT_FILENO, O_WRONLY);
    }
    give(streams.err, STDERR_FILENO, O_WRONLY);
    const int error = ::posix_spawn(&id_, words.front().c_str(), &actions, &attributes, arguments.data(), environ);
    ::posix_spawnattr_destroy(&attributes);
    ::posix_spawn_file_actions_destroy(&actions);
    PENUMBRA_ASSERT(error == 0, "a program that can be started");
}

Child::~Child() {
    if (ended()) return;
    ::kill(id_, SIGKILL);
    ::waitpid(id_, nullptr, 0);
}

void Child::send(int signal) const { ::kill(id_, signal); }

std::optional<int> Child::ended() {
    int status = 0;
    if (!ended_ && ::waitpid(id_, &status, WNOHANG) == id_) {
        ended_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
    return ended_;
}

std::optional<int> Child::wait(std::chrono::seconds limit) {
    (void)comes_true([this] { return ended().has_value(); }, limit);
    return ended_;
}

std::optional<std::chrono::milliseconds> Child::cpu_time_of(const std::string& thread) const {
    const std::string tasks = "/proc/" + std::to_string(id_) + "/task";
    std::error_code gone;
    for (const auto& task : std::filesystem::directory_iterator(tasks, gone)) {
        std::ifstream file{task.path() / "stat"};
        const std::string stat{std::istreambuf_iterator<char>{file}, {}};
        if (stat.find("(" + thread + ")") == std::string::npos) continue;
        // proc_pid_stat(5): fields 14 and 15, counted behind the name's closing bracket (2).
        std::istringstream fields(stat.substr(stat.rfind(')') + 1));
        std::vector<std::string> words{std::istream_iterator<std::string>{fields}, {}};
        if (words.size() < 13) continue;
        const long ticks = std::stol(words[11]) + std::stol(words[12]);
        return std::chrono::milliseconds{ticks * 1000 / ::sysconf(_SC_CLK_TCK)};
    }
    return std::nullopt;
}

}  // namespace penumbra::test
