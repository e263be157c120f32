#include "tests/sim/threads.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <span>

#include "base/assert.hpp"
#include "base/callback_scope.hpp"
#include "base/mutex.hpp"
#include "base/thread.hpp"
#include "base/thread_slot.hpp"

namespace penumbra::test::sim {

namespace {

/// Fibers are used again: their stacks are made once.
std::vector<std::unique_ptr<Fiber>>& idle_fibers() {
    static std::vector<std::unique_ptr<Fiber>> idle;
    return idle;
}

}  // namespace

Threads::Threads(Strategy& strategy, Trace& trace, ThreadsOptions options)
    : strategy_(strategy), trace_(trace), options_(std::move(options)) {}

Threads::~Threads() {
    for (const auto& task : tasks_) {
        if (task->done) idle_fibers().push_back(std::move(task->fiber));
    }
}

void Threads::fail(std::string_view what) {
    const ScheduledBy nobody_now(nullptr);
    options_.failed(what);
    std::abort();
}

void Threads::swap_marks(Task& from, Task& to) {
    from.marks = {penumbra::detail::held_rank, penumbra::detail::callback_depth, penumbra::detail::open_flush_duties,
                  penumbra::detail::thread_slot_plus_one, penumbra::detail::self_entry};
    penumbra::detail::held_rank = to.marks.held_rank;
    penumbra::detail::callback_depth = to.marks.callback_depth;
    penumbra::detail::open_flush_duties = to.marks.open_flush_duties;
    penumbra::detail::thread_slot_plus_one = to.marks.thread_slot_plus_one;
    penumbra::detail::self_entry = static_cast<ThreadRegister::Entry*>(to.marks.self_entry);
}

std::uint64_t Threads::start_thread(std::string name, std::function<void()> body) {
    const auto id = static_cast<TaskId>(tasks_.size());
    auto task = std::make_unique<Task>();
    task->name = std::move(name);
    if (idle_fibers().empty()) {
        task->fiber = std::make_unique<Fiber>();
    } else {
        task->fiber = std::move(idle_fibers().back());
        idle_fibers().pop_back();
    }
    task->marks.thread_slot_plus_one = std::min(id + 1, own_thread_slots + 1);
    task->fiber->begin([this, id, body = std::move(body)] { body_of(id, body); });
    tasks_.push_back(std::move(task));
    pending_.emplace_back();
    ++alive_;
    strategy_.started(id);
    make_ready(id);
    return id + 1;
}

void Threads::body_of(TaskId id, const std::function<void()>& body) {
    body();
    Task& task = *tasks_[id];
    task.own.clear();
    task.done = true;
    --alive_;
    std::erase(ready_, id);
    wake(&task, Wake::all);
}

void Threads::run(std::function<void()> body) {
    Task outside;
    const ScheduledBy scope(this);
    (void)start_thread("main", std::move(body));
    while (alive_ > 0) {
        while (ready_.empty()) time_passes();
        if (chosen_ == nobody) choose();
        Task& task = *tasks_[current_ = std::exchange(chosen_, nobody)];
        swap_marks(outside, task);
        task.fiber->resume();
        swap_marks(task, outside);
    }
    current_ = nobody;
}

void Threads::make_ready(TaskId id) { ready_.insert(std::ranges::lower_bound(ready_, id), id); }

void Threads::choose() { chosen_ = strategy_.next(ready_, current_, pending_, choices_++); }

void Threads::leave() { tasks_[current_]->fiber->yield(); }

void Threads::before_step(Step step, const void* object) {
    if (++steps_ > options_.most_steps) fail("livelock: the run does not end");
    pending_[current_] = {step, object};
    {
        const ScheduledBy nobody_now(nullptr);
        options_.check();
    }
}

void Threads::point(Step step, const void* object) {
    if (options_.is_point && !options_.is_point(step, object)) return observe(step, object);
    before_step(step, object);
    choose();
    if (chosen_ == current_) {
        chosen_ = nobody;
    } else {
        leave();
    }
    trace_.add({.task = current_, .step = step, .object = object});
    observe(step, object);
}

void Threads::observe(Step step, const void* object) {
    if (!options_.observed || current_ == nobody) return;
    const ScheduledBy nobody_now(nullptr);
    options_.observed(current_, step, object);
}

bool Threads::sleep(const void* object, Time deadline) {
    before_step(Step::wait, object);
    Task& task = *tasks_[current_];
    if (deadline <= now_) {
        give_way();
        return false;
    }
    task.sleeping = true;
    task.woken = false;
    task.waits_for = object;
    task.deadline = deadline;
    task.since = now_;
    std::erase(ready_, current_);
    trace_.add({.task = current_, .step = Step::wait, .object = object});
    observe(Step::wait, object);
    leave();
    return task.woken;
}

void Threads::wake(const void* object, Wake which) {
    observe(Step::wait, object);
    std::array<TaskId, 64> found;
    std::size_t count = 0;
    for (TaskId id = 0; id < tasks_.size() && ready_.size() + count < alive_; ++id) {
        if (tasks_[id]->sleeping && tasks_[id]->waits_for == object && count < found.size()) found[count++] = id;
    }
    if (which == Wake::one && count > 1) {
        found[0] = found[strategy_.pick(count)];
        count = 1;
    }
    for (const TaskId id : std::span{found}.first(count)) {
        tasks_[id]->sleeping = false;
        tasks_[id]->woken = true;
        make_ready(id);
    }
}

void Threads::time_passes() {
    TaskId first = nobody;
    for (TaskId id = 0; id < tasks_.size(); ++id) {
        const Task& task = *tasks_[id];
        if (!task.sleeping || task.deadline == never) continue;
        if (first == nobody || task.deadline < tasks_[first]->deadline) first = id;
    }
    if (first == nobody) fail("deadlock: everybody waits");
    Task& task = *tasks_[first];
    if (task.deadline - task.since >= options_.stall) fail("stall: " + task.name + " was never woken");
    now_ = std::max(now_, task.deadline);
    if (now_.time_since_epoch() > std::chrono::seconds{1000} + options_.most_time) fail("stall: too much time passed");
    task.sleeping = false;
    make_ready(first);
}

void Threads::join_thread(std::uint64_t number) {
    Task& task = *tasks_[number - 1];
    while (!task.done) (void)sleep(&task, never);
}

std::shared_ptr<void>& Threads::own(const void* key) {
    auto& own = tasks_[current_]->own;
    const auto found = std::ranges::find(own, key, [](const auto& entry) { return entry.first; });
    if (found != own.end()) return found->second;
    return own.emplace_back(key, nullptr).second;
}

void Threads::wait_for_readers() {
    point(Step::wait, nullptr);
    // A section that begins later need not be waited for, but waiting for it too is allowed as long as it ends.
    for (TaskId id = 0; id < tasks_.size(); ++id) {
        while (tasks_[id]->sections != 0) (void)sleep(&tasks_[id]->sections, never);
    }
}

void Threads::pause(std::chrono::nanoseconds time) { (void)sleep(&now_, now_ + time); }

void Threads::give_way() {
    strategy_.gives_way(current_);
    point(Step::host, nullptr);
}

}  // namespace penumbra::test::sim
