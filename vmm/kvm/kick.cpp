#include "vmm/kvm/kick.hpp"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>

#include "vmm/kvm/ioctl.hpp"
#include "vmm/kvm/kvm_layout.hpp"

namespace penumbra::vmm::kick {

namespace {

int kick_signal() { return SIGRTMIN + 3; }

void ignore_kick(int) {}

// A handler that does nothing: the default action would end the process if a kick met a thread that does not block it.
int install_handler() {
    struct sigaction action{};
    action.sa_handler = ignore_kick;
    sigemptyset(&action.sa_mask);
    return ::sigaction(kick_signal(), &action, nullptr) == 0 ? 0 : errno;
}

}  // namespace

Result<> prepare_this_thread(int vcpu_fd) {
    static const int install_error = install_handler();
    if (install_error != 0) {
        errno = install_error;
        return fail_errno("install the handler of the kick signal");
    }
    sigset_t outside;
    sigemptyset(&outside);
    sigaddset(&outside, kick_signal());
    sigset_t inside;
    if (const int error = ::pthread_sigmask(SIG_BLOCK, &outside, &inside); error != 0) {
        errno = error;
        return fail_errno("block the kick signal");
    }
    sigdelset(&inside, kick_signal());
    kvm_layout::SignalMask mask{.bytes = sizeof(mask.set), .set = {}};
    std::memcpy(mask.set.data(), &inside, sizeof(mask.set));
    if (ioctl_retry(vcpu_fd, kvm_layout::set_signal_mask, &mask) < 0)
        return fail_errno("set the signal mask of a vCPU");
    return {};
}

void send(pid_t tid) {
    // ESRCH: the thread has ended; EAGAIN: the queue is full, so a kick is pending already. Both are fine.
    (void)::syscall(SYS_tgkill, ::getpid(), tid, kick_signal());
}

void swallow_pending() {
    sigset_t kicks;
    sigemptyset(&kicks);
    sigaddset(&kicks, kick_signal());
    const timespec at_once{};
    // Each request sends one; more than a few can only pile up while this loop runs, and those may stay.
    for (int i = 0; i < 64 && ::sigtimedwait(&kicks, nullptr, &at_once) > 0; ++i) {
    }
}

}  // namespace penumbra::vmm::kick
