#include "vmm/control/console/raw_terminal.hpp"

#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <utility>

#include "base/assert.hpp"

namespace penumbra::vmm {

namespace {

constexpr std::array deadly{SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGQUIT};

// What a signal handler needs; written before the handlers are installed.
std::atomic<int> entered_fd{-1};
termios before;
std::array<struct sigaction, deadly.size()> handlers_before;

void put_back_and_die(int signal) {
    const int fd = entered_fd.load(std::memory_order_acquire);
    if (fd >= 0) ::tcsetattr(fd, TCSANOW, &before);
    // The disposition is the default again (SA_RESETHAND).
    ::raise(signal);
}

void install_handlers() {
    struct sigaction action{};
    action.sa_handler = put_back_and_die;
    action.sa_flags = static_cast<int>(SA_RESETHAND | SA_NODEFER);
    sigemptyset(&action.sa_mask);
    for (std::size_t i = 0; i < deadly.size(); ++i) ::sigaction(deadly[i], &action, &handlers_before[i]);
}

void remove_handlers() {
    for (std::size_t i = 0; i < deadly.size(); ++i) ::sigaction(deadly[i], &handlers_before[i], nullptr);
}

int make_raw(int fd) {
    termios raw = before;
    ::cfmakeraw(&raw);
    raw.c_oflag = before.c_oflag;
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    return ::tcsetattr(fd, TCSANOW, &raw);
}

}  // namespace

bool RawTerminal::is_ours(int fd) { return ::isatty(fd) == 1 && ::tcgetpgrp(fd) == ::getpgrp(); }

Result<RawTerminal> RawTerminal::enter(int fd) {
    if (::tcgetattr(fd, &before) != 0) return fail_errno("read the terminal's settings");
    PENUMBRA_ASSERT(entered_fd.exchange(fd, std::memory_order_acq_rel) < 0, "a terminal was taken twice");
    install_handlers();
    RawTerminal terminal(fd);
    if (make_raw(fd) != 0) return fail_errno("give the terminal to the guest");
    return terminal;
}

RawTerminal::RawTerminal(RawTerminal&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

RawTerminal::~RawTerminal() {
    if (fd_ < 0) return;
    ::tcsetattr(fd_, TCSADRAIN, &before);
    remove_handlers();
    entered_fd.store(-1, std::memory_order_release);
}

void RawTerminal::enter_again() const { (void)make_raw(fd_); }

}  // namespace penumbra::vmm
