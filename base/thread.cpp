#include "base/thread.hpp"

#include <pthread.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <utility>

#include "base/assert.hpp"

namespace penumbra {

namespace {

using detail::self_entry;

const std::uint32_t* rseq_cpu_of_this_thread() {
    if (__rseq_size == 0) return nullptr;
    const auto* area = static_cast<const std::byte*>(__builtin_thread_pointer()) + __rseq_offset;
    return &reinterpret_cast<const struct rseq*>(area)->cpu_id;
}

}  // namespace

pid_t current_tid() {
#if defined(PENUMBRA_TEST_SWITCHES)
    if (const Scheduler* simulated = scheduler()) return static_cast<pid_t>(simulated->thread_number());
#endif
    return static_cast<pid_t>(::syscall(SYS_gettid));
}

ThreadRegister& ThreadRegister::instance() {
    static ThreadRegister instance;
    return instance;
}

ThreadRegister::Entry& ThreadRegister::enter(ThreadRole role, std::uint32_t index) {
    PENUMBRA_ASSERT(self_entry == nullptr, "thread registered twice");
    const pid_t tid = current_tid();
    for (Entry& entry : entries_) {
        pid_t expected = 0;
        // A slot is first claimed with an id no thread has, filled, and only then made findable.
        if (!entry.tid.compare_exchange_strong(expected, -1, std::memory_order_acq_rel)) continue;
        entry.role.store(role, std::memory_order_relaxed);
        entry.index.store(index, std::memory_order_relaxed);
        entry.in_guest.store(false, std::memory_order_relaxed);
        entry.cpu.store(rseq_cpu_of_this_thread(), std::memory_order_relaxed);
        entry.tid.store(tid, std::memory_order_release);
        self_entry = &entry;
        return entry;
    }
    assertion_failed("free slot", __FILE__, __LINE__, "too many registered threads");
}

void ThreadRegister::leave(Entry& entry) {
    entry.cpu.store(nullptr, std::memory_order_release);
    self_entry = nullptr;
    entry.tid.store(0, std::memory_order_release);
}

ThreadRegister::Entry* ThreadRegister::find(pid_t tid) {
    for (Entry& entry : entries_) {
        if (entry.tid.load(std::memory_order_acquire) == tid) return &entry;
    }
    return nullptr;
}

ThreadRegister::Entry* ThreadRegister::self() { return self_entry; }

Thread::Thread(std::string name, ThreadRole role, std::function<void()> body, std::uint32_t index) {
#if defined(PENUMBRA_TEST_SWITCHES)
    if (Scheduler* simulated = scheduler()) {
        simulated_ = simulated->start_thread(std::move(name), [role, body = std::move(body), index] {
            const ThreadRoleScope scope(role, index);
            body();
        });
        return;
    }
#endif
    thread_ = std::thread([name = std::move(name), role, body = std::move(body), index] {
        ::pthread_setname_np(::pthread_self(), name.substr(0, 15).c_str());
        const ThreadRoleScope scope(role, index);
        body();
    });
}

Thread& Thread::operator=(Thread&& other) noexcept {
    if (this != &other) {
        join();
        thread_ = std::move(other.thread_);
#if defined(PENUMBRA_TEST_SWITCHES)
        simulated_ = std::exchange(other.simulated_, 0);
#endif
    }
    return *this;
}

bool Thread::joinable() const {
#if defined(PENUMBRA_TEST_SWITCHES)
    if (simulated_ != 0) return true;
#endif
    return thread_.joinable();
}

void Thread::join() {
#if defined(PENUMBRA_TEST_SWITCHES)
    if (simulated_ != 0) return scheduler()->join_thread(std::exchange(simulated_, 0));
#endif
    if (thread_.joinable()) thread_.join();
}

}  // namespace penumbra
