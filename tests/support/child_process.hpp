// Other programs run by tests, and terminals for them.
#pragma once

#include <sys/types.h>
#include <termios.h>

#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.hpp"

namespace penumbra::test {

/// Longer than anything that these tests wait for takes, in a sanitizer build on a busy machine too.
inline constexpr std::chrono::seconds child_patience{50};

/// Asks again every few milliseconds until the answer is yes; false when that took too long.
template <class Fn>
[[nodiscard]] bool comes_true(Fn&& fn, std::chrono::seconds limit = child_patience) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (!fn()) {
        if (std::chrono::steady_clock::now() > deadline) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds{2});
    }
    return true;
}

/// What a pipe or terminal brings, as far as it came.
class Hearer {
public:
    explicit Hearer(int fd) : fd_(fd) {}
    /// Reads what is there now. False at the end of the stream.
    bool look();
    /// Reads until `part` has come; false at the end of the stream or when that took too long.
    [[nodiscard]] bool hears(const std::string& part, std::chrono::seconds limit = child_patience);
    [[nodiscard]] bool hears_the_end(std::chrono::seconds limit = child_patience);
    [[nodiscard]] const std::string& heard() const { return heard_; }
    void forget() { heard_.clear(); }

private:
    int fd_;
    std::string heard_;
};

struct Pipe {
    Pipe();
    UniqueFd from;
    UniqueFd to;
};

/// A terminal whose user is the test.
class Terminal {
public:
    Terminal();
    /// Where a program finds it.
    [[nodiscard]] const std::string& path() const { return path_; }
    /// The user's side: keys in, screen out.
    [[nodiscard]] int user() const { return user_.get(); }
    void type(const std::string& keys) const;
    [[nodiscard]] termios settings() const;
    void set(const termios& settings) const;
    /// Every key is handed on at once, none is a command.
    [[nodiscard]] bool is_raw() const;

private:
    UniqueFd user_;
    std::string path_;
    UniqueFd program_;  // keeps it alive while no program has it
};

[[nodiscard]] bool same_settings(const termios& a, const termios& b);

/// Descriptors that the child gets as its own; -1: /dev/null.
struct ChildStreams {
    int in = -1;
    int out = -1;
    int err = -1;
    /// Path of a terminal that the child leads a session on, as its input and, unless `out` is given, its output.
    std::string terminal;
};

/// Killed if a test leaves it running. It dumps no core.
class Child {
public:
    Child(std::vector<std::string> words, const ChildStreams& streams);
    ~Child();
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;

    void send(int signal) const;
    /// How it ended: an exit status, or minus the signal. nullopt: it runs.
    [[nodiscard]] std::optional<int> ended();
    /// As ended(), waiting for it; nullopt when that took too long.
    [[nodiscard]] std::optional<int> wait(std::chrono::seconds limit = child_patience);
    [[nodiscard]] pid_t id() const { return id_; }
    /// CPU time that its thread of this name has taken; nullopt: it has none.
    [[nodiscard]] std::optional<std::chrono::milliseconds> cpu_time_of(const std::string& thread) const;

private:
    pid_t id_ = 0;
    std::optional<int> ended_;
};

}  // namespace penumbra::test
