// The signal that takes a thread out of KVM_RUN. It is blocked everywhere else on a vCPU thread, so it never interrupts
// another system call there.
#pragma once

#include <sys/types.h>

#include "base/result.hpp"

namespace penumbra::vmm::kick {

/// Blocks the kick signal on this thread and lets KVM_RUN on `vcpu_fd` unblock it, and only it.
[[nodiscard]] Result<> prepare_this_thread(int vcpu_fd);
/// Harmless when the thread has ended or its id has gone to another thread of this process.
void send(pid_t tid);
/// Takes this thread's pending kicks away.
void swallow_pending();

}  // namespace penumbra::vmm::kick
