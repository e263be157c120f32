#include "bench/common/interrupts.hpp"

#include <poll.h>
#include <sys/signalfd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

namespace penumbra::bench {

Result<Interrupts> Interrupts::block() {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&set, signal);
    if (::sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return fail_errno("block", "signals");
    (void)std::signal(SIGPIPE, SIG_IGN);
    UniqueFd signals{::signalfd(-1, &set, SFD_CLOEXEC)};
    if (!signals) return fail_errno("open", "a signalfd");
    return Interrupts{std::move(signals)};
}

Result<Interrupts::Waited> Interrupts::wait_for(int file, int milliseconds) const {
    std::array<pollfd, 2> files{{{signals_.get(), POLLIN, 0}, {file, POLLIN, 0}}};
    int ready = 0;
    do {
        ready = ::poll(files.data(), files.size(), milliseconds);
    } while (ready < 0 && errno == EINTR);
    if (ready < 0) return fail_errno("wait for", "a part of the benchmark");
    if (files[0].revents != 0) return fail("go on", "after a signal");
    return ready == 0 ? Waited::timed_out : Waited::ready;
}

}  // namespace penumbra::bench
