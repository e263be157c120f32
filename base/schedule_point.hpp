// Where a simulation may switch from one thread of production code to another, and what it does in place of the kernel:
// sleeping, waking, time, new threads. In builds without PENUMBRA_TEST_SWITCHES all of it is nothing.
#pragma once

#include <atomic>
#include <cstdint>

#if defined(PENUMBRA_TEST_SWITCHES)
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#endif

namespace penumbra {

/// What the calling thread is about to do.
enum class Step : std::uint8_t { entry_read, entry_write, lock, unlock, wait, callback, host };

#if defined(PENUMBRA_TEST_SWITCHES)

/// Drives the threads it is installed in. Each call comes from such a thread, outside its own calls. An `object` is the
/// address of what a step is about: an entry, a word, a lock; steps about different objects do not depend on each
/// other.
class Scheduler {
public:
    using Time = std::chrono::steady_clock::time_point;
    enum class Wake : std::uint8_t { one, all };
    static constexpr Time never = Time::max();

    virtual ~Scheduler() = default;
    /// May run other threads before it returns.
    virtual void point(Step step, const void* object) = 0;
    /// Sleeps until wake() of that object, or until the deadline: false then. Nothing runs between the caller's last
    /// look and the sleep.
    virtual bool sleep(const void* object, Time deadline) = 0;
    virtual void wake(const void* object, Wake which) = 0;
    [[nodiscard]] virtual Time now() const = 0;

    /// A thread with its number, which is never 0.
    virtual std::uint64_t start_thread(std::string name, std::function<void()> body) = 0;
    virtual void join_thread(std::uint64_t number) = 0;
    [[nodiscard]] virtual std::uint64_t thread_number() const = 0;
    /// The calling thread's own object of that key, empty at first; ends with the thread.
    [[nodiscard]] virtual std::shared_ptr<void>& own(const void* key) = 0;
    /// Read-side sections that the calling thread has open.
    [[nodiscard]] virtual unsigned& read_sections() = 0;
    /// Returns when every section that was open at the call, of any thread, has ended.
    virtual void wait_for_readers() = 0;
    /// A promise of production code is broken. Does not return.
    [[noreturn]] virtual void broken(std::string_view what) = 0;
};

namespace detail {
inline thread_local constinit Scheduler* scheduler = nullptr;
}

/// The calling thread's scheduler, or null.
[[nodiscard]] inline Scheduler* scheduler() { return detail::scheduler; }

/// Puts the calling thread under a scheduler, or with null under none, for a scope.
class ScheduledBy {
public:
    explicit ScheduledBy(Scheduler* scheduler) : outer_(detail::scheduler) { detail::scheduler = scheduler; }
    ~ScheduledBy() { detail::scheduler = outer_; }
    ScheduledBy(const ScheduledBy&) = delete;
    ScheduledBy& operator=(const ScheduledBy&) = delete;

private:
    Scheduler* outer_;
};

inline void schedule_point(Step step, const void* object = nullptr) {
    if (detail::scheduler != nullptr) [[unlikely]]
        detail::scheduler->point(step, object);
}
/// Sleeps while `word` holds `value`. True when a scheduler did the waiting.
template <class T>
[[nodiscard]] bool schedule_wait(const std::atomic<T>& word, T value) {
    if (detail::scheduler == nullptr) [[likely]]
        return false;
    detail::scheduler->point(Step::wait, &word);
    while (word.load(std::memory_order_relaxed) == value) detail::scheduler->sleep(&word, Scheduler::never);
    return true;
}
/// `word` has changed.
template <class T>
void schedule_wake(const std::atomic<T>& word) {
    if (detail::scheduler != nullptr) [[unlikely]]
        detail::scheduler->wake(&word, Scheduler::Wake::all);
}

#else

inline void schedule_point(Step, const void* = nullptr) {}
template <class T>
[[nodiscard]] constexpr bool schedule_wait(const std::atomic<T>&, T) {
    return false;
}
template <class T>
void schedule_wake(const std::atomic<T>&) {}

#endif

}  // namespace penumbra
