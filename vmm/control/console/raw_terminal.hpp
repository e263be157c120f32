// A terminal that hands on every key at once and interprets none, for as long as the guest has it.
#pragma once

#include "base/result.hpp"

namespace penumbra::vmm {

/// At most one at a time in a process; puts the terminal back when destroyed, and also when the process dies of an
/// error (SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGQUIT). Output stays as it is: a line feed still starts a line.
class RawTerminal {
public:
    /// True when `fd` is a terminal and this process may read from it now: it is not in the background.
    [[nodiscard]] static bool is_ours(int fd);

    /// `fd` is a terminal; it stays open longer than this.
    [[nodiscard]] static Result<RawTerminal> enter(int fd);
    RawTerminal(RawTerminal&& other) noexcept;
    RawTerminal& operator=(RawTerminal&&) = delete;
    ~RawTerminal();

    /// Again, after the process was stopped and the shell had the terminal.
    void enter_again() const;

private:
    explicit RawTerminal(int fd) : fd_(fd) {}
    int fd_;
};

}  // namespace penumbra::vmm
