// A named thread that is joined by its destructor, and the register that tells a userfaultfd thread id's role.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <utility>

#include "base/schedule_point.hpp"

namespace penumbra {

/// Who a thread is, as seen by the fault path: only `vcpu` threads inside KVM_RUN (or host threads that stand in for
/// them) may fault on guest memory.
enum class ThreadRole : std::uint8_t { foreign, vcpu, device, vmm };

/// Fixed-size register of this process's threads by kernel thread id. Lock-free; entries live as long as the thread.
class ThreadRegister {
public:
    struct Entry {
        std::atomic<pid_t> tid{0};
        std::atomic<ThreadRole> role{ThreadRole::foreign};
        std::atomic<bool> in_guest{false};
        std::atomic<std::uint32_t> index{0};             ///< vCPU number, for vcpu threads
        std::atomic<const std::uint32_t*> cpu{nullptr};  ///< the thread's rseq cpu_id, readable while it lives
    };

    [[nodiscard]] static ThreadRegister& instance();
    /// Registers the calling thread; asserts when all slots are taken.
    Entry& enter(ThreadRole role, std::uint32_t index = 0);
    void leave(Entry& entry);
    /// The entry of a live thread, or null for ids that are not ours.
    [[nodiscard]] Entry* find(pid_t tid);
    /// The calling thread's own entry, or null.
    [[nodiscard]] static Entry* self();

private:
    static constexpr std::size_t capacity = 1024;
    std::array<Entry, capacity> entries_;
};

namespace detail {
inline thread_local constinit ThreadRegister::Entry* self_entry = nullptr;
}

/// Registers the calling thread for a scope.
class ThreadRoleScope {
public:
    explicit ThreadRoleScope(ThreadRole role, std::uint32_t index = 0)
        : entry_(ThreadRegister::instance().enter(role, index)) {}
    ~ThreadRoleScope() { ThreadRegister::instance().leave(entry_); }
    ThreadRoleScope(const ThreadRoleScope&) = delete;
    ThreadRoleScope& operator=(const ThreadRoleScope&) = delete;

    [[nodiscard]] ThreadRegister::Entry& entry() { return entry_; }

private:
    ThreadRegister::Entry& entry_;
};

/// Marks the calling vCPU thread as inside the guest, where faults on guest memory are its right.
class InGuestScope {
public:
    explicit InGuestScope(ThreadRegister::Entry& entry) : entry_(entry) {
        entry_.in_guest.store(true, std::memory_order_release);
    }
    ~InGuestScope() { entry_.in_guest.store(false, std::memory_order_release); }
    InGuestScope(const InGuestScope&) = delete;
    InGuestScope& operator=(const InGuestScope&) = delete;

private:
    ThreadRegister::Entry& entry_;
};

/// A joined-on-destruction thread with a name and a role. The body must end by itself once its owner asked it to.
class Thread {
public:
    Thread() = default;
    Thread(std::string name, ThreadRole role, std::function<void()> body, std::uint32_t index = 0);
    Thread(Thread&& other) noexcept { *this = std::move(other); }
    Thread& operator=(Thread&& other) noexcept;
    ~Thread() { join(); }

    void join();
    [[nodiscard]] bool joinable() const;
    [[nodiscard]] pthread_t native_handle() { return thread_.native_handle(); }

private:
    std::thread thread_;
#if defined(PENUMBRA_TEST_SWITCHES)
    std::uint64_t simulated_ = 0;  // its number in a simulation
#endif
};

/// The kernel's id of the calling thread; in a simulation its number there.
[[nodiscard]] pid_t current_tid();

}  // namespace penumbra
