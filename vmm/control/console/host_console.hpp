// The user's end of a guest's console: standard output shows every byte the guest sends, standard input is what the
// guest receives.
//
// Bytes go to a terminal as they are, escape sequences too: a console is a terminal's conversation with a program.
// Whoever does not trust the guest looks at it through a pager or a file.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/mutex.hpp"
#include "base/thread.hpp"
#include "vmm/control/console/escape_keys.hpp"
#include "vmm/control/console/raw_terminal.hpp"
#include "vmm/control/console/stream.hpp"
#include "vmm/devices/console_port.hpp"

namespace penumbra::vmm {

struct HostConsoleOptions {
    int input = 0;
    int output = 1;
    std::function<void()> on_quit;  ///< the user pressed Ctrl-A x; on the console's thread
};

/// Its thread alone reads and writes, so no vCPU waits for a reader: what a slow one leaves undone waits here, up to a
/// limit, and is then dropped and counted. Input is read when it is a terminal in the foreground, a pipe, a socket or a
/// file; a terminal is raw meanwhile.
class HostConsole final : public ConsolePeer {
public:
    static constexpr std::size_t most_waiting = std::size_t{1} << 20;

    [[nodiscard]] static Result<std::unique_ptr<HostConsole>> create(HostConsoleOptions options);
    ~HostConsole() override;
    HostConsole(const HostConsole&) = delete;
    HostConsole& operator=(const HostConsole&) = delete;

    /// From now on input goes to the port, which outlives the console's end(). Once.
    void connect(ConsolePort& port) EXCLUDES(mutex_);
    void sent(std::span<const std::byte> bytes) override EXCLUDES(mutex_);
    void ready_for_more() override;
    /// The process goes on after having been stopped.
    void continued() const;

    /// Takes no more input, writes out what waits for at most `patience`, gives the terminal back. Returns the number
    /// of bytes of output that were lost in all. Idempotent.
    std::uint64_t end(std::chrono::milliseconds patience) EXCLUDES(mutex_);

private:
    explicit HostConsole(HostConsoleOptions options);
    void run() EXCLUDES(mutex_);
    /// False once there is nothing more to do.
    [[nodiscard]] bool turn() EXCLUDES(mutex_);
    [[nodiscard]] int patience_left() const;
    void take_output() EXCLUDES(mutex_);
    void write_some();
    void read_some();
    void offer() EXCLUDES(mutex_);
    void wake() const;

    const HostConsoleOptions options_;
    Stream output_;
    std::optional<Stream> input_;
    std::optional<RawTerminal> terminal_;
    UniqueFd wake_;
    std::atomic<bool> ending_{false};
    std::atomic<std::chrono::steady_clock::time_point> deadline_{};

    Mutex mutex_{LockRank::leaf};
    std::vector<std::byte> waiting_ GUARDED_BY(mutex_);
    std::uint64_t lost_ GUARDED_BY(mutex_) = 0;
    ConsolePort* port_ GUARDED_BY(mutex_) = nullptr;

    // The thread's own.
    std::vector<std::byte> writing_;
    std::size_t written_ = 0;
    bool output_closed_ = false;
    bool input_closed_ = false;
    EscapeKeys keys_;
    std::vector<std::byte> typed_;  // what the guest has not taken yet
    bool guest_is_full_ = false;
    std::atomic<bool> more_wanted_{false};
    Thread thread_;
};

}  // namespace penumbra::vmm
