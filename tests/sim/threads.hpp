// Threads of a simulation: fibers on one thread of the host, a clock that moves when nobody can run, and a check of the
// whole world before every step.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/schedule_point.hpp"
#include "tests/sim/fiber.hpp"
#include "tests/sim/strategy.hpp"
#include "tests/sim/trace.hpp"

namespace penumbra::test::sim {

struct ThreadsOptions {
    /// Called before every step, under no scheduler.
    std::function<void()> check;
    /// Called with the first thing that went wrong. Does not return.
    std::function<void(std::string_view)> failed;
    /// Which steps a switch may come before; empty: all. A thread that sleeps is always left.
    std::function<bool(Step, const void*)> is_point;
    /// Hears of every step, whether it is a point or not, when nobody else runs before it is made; empty: of none.
    std::function<void(TaskId, Step, const void*)> observed = nullptr;
    std::uint64_t most_steps = 2'000'000;
    /// Nobody may sleep that long, nor all together longer than `most_time`.
    std::chrono::seconds stall{5};
    std::chrono::seconds most_time{120};
};

class Threads final : public Scheduler {
public:
    Threads(Strategy& strategy, Trace& trace, ThreadsOptions options);
    ~Threads() override;
    Threads(const Threads&) = delete;
    Threads& operator=(const Threads&) = delete;

    /// Runs `body` as the first thread, and returns when it and all that it started have ended.
    void run(std::function<void()> body);
    /// The calling thread lets simulated time pass.
    void pause(std::chrono::nanoseconds time);
    /// The calling thread repeats something until another one has run.
    void give_way();
    /// For the trace: what the calling thread begins.
    void note(const char* text, std::uint64_t number) { trace_.note(current_, text, number); }
    [[noreturn]] void fail(std::string_view what);
    [[nodiscard]] std::uint64_t steps() const { return steps_; }
    [[nodiscard]] std::uint64_t choices() const { return choices_; }
    [[nodiscard]] TaskId current() const { return current_; }
    [[nodiscard]] const std::string& name_of(TaskId id) const { return tasks_[id]->name; }
    [[nodiscard]] std::size_t count() const { return tasks_.size(); }

    void point(Step step, const void* object) override;
    bool sleep(const void* object, Time deadline) override;
    void wake(const void* object, Wake which) override;
    [[nodiscard]] Time now() const override { return now_; }
    std::uint64_t start_thread(std::string name, std::function<void()> body) override;
    void join_thread(std::uint64_t number) override;
    [[nodiscard]] std::uint64_t thread_number() const override { return current_ + 1; }
    [[nodiscard]] std::shared_ptr<void>& own(const void* key) override;
    [[nodiscard]] unsigned& read_sections() override { return tasks_[current_]->sections; }
    void wait_for_readers() override;
    [[noreturn]] void broken(std::string_view what) override { fail(what); }

private:
    /// The thread-locals of production code that belong to a fiber.
    struct Marks {
        unsigned held_rank = 0;
        unsigned callback_depth = 0;
        unsigned open_flush_duties = 0;
        unsigned thread_slot_plus_one = 0;
        void* self_entry = nullptr;
    };
    struct Task {
        std::string name;
        std::unique_ptr<Fiber> fiber;
        Marks marks;
        std::vector<std::pair<const void*, std::shared_ptr<void>>> own;
        unsigned sections = 0;
        std::uint64_t sections_ended = 0;
        bool sleeping = false;
        bool done = false;
        bool woken = false;
        const void* waits_for = nullptr;
        Time deadline = never;
        Time since{};
    };

    void swap_marks(Task& from, Task& to);
    void before_step(Step step, const void* object);
    void observe(Step step, const void* object);
    void choose();
    void leave();
    void make_ready(TaskId id);
    void time_passes();
    void body_of(TaskId id, const std::function<void()>& body);

    Strategy& strategy_;
    Trace& trace_;
    ThreadsOptions options_;
    std::vector<std::unique_ptr<Task>> tasks_;
    std::vector<TaskId> ready_;
    std::vector<Pending> pending_;
    TaskId current_ = nobody;
    TaskId chosen_ = nobody;
    std::uint64_t steps_ = 0;
    std::uint64_t choices_ = 0;
    Time now_{std::chrono::seconds{1000}};
    std::size_t alive_ = 0;
};

}  // namespace penumbra::test::sim
