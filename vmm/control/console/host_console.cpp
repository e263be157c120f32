#include "vmm/control/console/host_console.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

namespace penumbra::vmm {

namespace {

using Clock = std::chrono::steady_clock;

/// Keys that a guest may leave untaken; more are forgotten.
constexpr std::size_t most_typed = 4096;

/// Reading from a terminal that another job has would stop this one; a closed descriptor is nobody's input.
bool is_readable(int fd) {
    struct stat status{};
    if (::fstat(fd, &status) != 0) return false;
    return ::isatty(fd) == 0 || RawTerminal::is_ours(fd);
}

}  // namespace

HostConsole::HostConsole(HostConsoleOptions options)
    : options_(std::move(options)), output_(options_.output, StreamUse::output) {}

Result<std::unique_ptr<HostConsole>> HostConsole::create(HostConsoleOptions options) {
    std::unique_ptr<HostConsole> console(new HostConsole(std::move(options)));
    console->wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!console->wake_) return fail_errno("make an event for the console");
    const int input = console->options_.input;
    if (is_readable(input)) console->input_.emplace(input, StreamUse::input);
    if (RawTerminal::is_ours(input)) {
        PENUMBRA_TRY_ASSIGN(RawTerminal terminal, RawTerminal::enter(input));
        console->terminal_.emplace(std::move(terminal));
    }
    console->thread_ = Thread("console", ThreadRole::vmm, [self = console.get()] { self->run(); });
    return console;
}

HostConsole::~HostConsole() { end(std::chrono::milliseconds{0}); }

void HostConsole::wake() const {
    const std::uint64_t one = 1;
    // Fails only when the event is set already.
    (void)!::write(wake_.get(), &one, sizeof(one));
}

void HostConsole::connect(ConsolePort& port) {
    {
        const MutexLock lock(mutex_);
        port_ = &port;
    }
    wake();
}

void HostConsole::sent(std::span<const std::byte> bytes) {
    bool first = false;
    {
        const MutexLock lock(mutex_);
        first = waiting_.empty();
        const std::size_t kept = std::min(bytes.size(), most_waiting - waiting_.size());
        waiting_.insert(waiting_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(kept));
        lost_ += bytes.size() - kept;
    }
    if (first) wake();
}

void HostConsole::ready_for_more() {
    more_wanted_.store(true, std::memory_order_release);
    wake();
}

void HostConsole::continued() const {
    if (terminal_ && !ending_.load(std::memory_order_acquire)) terminal_->enter_again();
}

std::uint64_t HostConsole::end(std::chrono::milliseconds patience) {
    if (!ending_.load(std::memory_order_acquire)) {
        deadline_.store(Clock::now() + patience, std::memory_order_release);
        ending_.store(true, std::memory_order_release);
        wake();
    }
    thread_.join();
    terminal_.reset();
    const MutexLock lock(mutex_);
    return lost_;
}

void HostConsole::run() {
    // A reader that went away is an error of the write, not the end of the process.
    sigset_t broken_pipe;
    sigemptyset(&broken_pipe);
    sigaddset(&broken_pipe, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &broken_pipe, nullptr);
    while (turn()) {
    }
    const MutexLock lock(mutex_);
    lost_ += waiting_.size() + (writing_.size() - written_);
    waiting_.clear();
}

int HostConsole::patience_left() const {
    const Clock::time_point deadline = deadline_.load(std::memory_order_acquire);
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    return static_cast<int>(std::clamp<decltype(left)>(left, 0, 60'000));
}

bool HostConsole::turn() {
    const bool ending = ending_.load(std::memory_order_acquire);
    take_output();
    const bool has_output = written_ < writing_.size();
    // A terminal is always listened to: its user may want to quit a guest that takes no input.
    const bool reads = !ending && input_ && !input_closed_ && (typed_.empty() || terminal_);
    if (ending && (!has_output || patience_left() == 0)) return false;

    std::array<pollfd, 3> fds{pollfd{wake_.get(), POLLIN, 0}, pollfd{has_output ? output_.fd() : -1, POLLOUT, 0},
                              pollfd{reads ? input_->fd() : -1, POLLIN, 0}};
    if (::poll(fds.data(), fds.size(), ending ? patience_left() : -1) < 0) return true;  // a signal: look again
    std::uint64_t wakes = 0;
    if (fds[0].revents != 0) (void)!::read(wake_.get(), &wakes, sizeof(wakes));
    if (fds[1].revents != 0) write_some();
    if (fds[2].revents != 0) read_some();
    if (!ending) offer();
    return true;
}

void HostConsole::take_output() {
    if (written_ < writing_.size()) return;
    writing_.clear();
    written_ = 0;
    const MutexLock lock(mutex_);
    writing_.swap(waiting_);
    if (!output_closed_) return;
    lost_ += writing_.size();
    writing_.clear();
}

void HostConsole::write_some() {
    const Stream::Step step = output_.write(std::span(writing_).subspan(written_));
    if (const auto* bytes = std::get_if<std::size_t>(&step)) written_ += *bytes;
    // What is left is counted as lost when more output is taken.
    if (!std::holds_alternative<Stream::Ended>(step)) return;
    output_closed_ = true;
    const MutexLock lock(mutex_);
    lost_ += writing_.size() - written_;
    written_ = writing_.size();
}

void HostConsole::read_some() {
    std::array<std::byte, 4096> buffer{};
    const Stream::Step step = input_->read(buffer);
    if (std::holds_alternative<Stream::Ended>(step)) input_closed_ = true;
    const auto* bytes = std::get_if<std::size_t>(&step);
    if (bytes == nullptr) return;
    const auto read = std::span<const std::byte>(buffer).first(*bytes);
    // Files and pipes hold no keys: every byte of theirs is the guest's.
    if (!terminal_) return typed_.assign(read.begin(), read.end());
    EscapeKeys::Filtered filtered = keys_.filter(read);
    const std::size_t kept = std::min(filtered.bytes.size(), most_typed - std::min(most_typed, typed_.size()));
    typed_.insert(typed_.end(), filtered.bytes.begin(), filtered.bytes.begin() + static_cast<std::ptrdiff_t>(kept));
    if (filtered.wish == EscapeKeys::Wish::quit && options_.on_quit) options_.on_quit();
}

void HostConsole::offer() {
    if (more_wanted_.exchange(false, std::memory_order_acq_rel)) guest_is_full_ = false;
    if (typed_.empty() || guest_is_full_) return;
    ConsolePort* port = nullptr;
    {
        const MutexLock lock(mutex_);
        port = port_;
    }
    if (port == nullptr) return;
    const std::size_t taken = port->receive(typed_);
    typed_.erase(typed_.begin(), typed_.begin() + static_cast<std::ptrdiff_t>(taken));
    guest_is_full_ = !typed_.empty();
}

}  // namespace penumbra::vmm
