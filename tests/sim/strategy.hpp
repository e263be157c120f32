// Who runs next. One strategy and its seed are one interleaving.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "base/schedule_point.hpp"

namespace penumbra::test::sim {

using TaskId = std::uint32_t;
inline constexpr TaskId nobody = ~TaskId{0};

/// What a task does first when it runs.
struct Pending {
    Step step = Step::host;
    const void* object = nullptr;
};

class Strategy {
public:
    virtual ~Strategy() = default;
    /// One of `ready` (ascending, not empty). `current` was running, and is in `ready` unless it sleeps or ended.
    /// `pending[id]` is what each task is about to do; `at` counts the calls of a run.
    [[nodiscard]] virtual TaskId next(std::span<const TaskId> ready, TaskId current, std::span<const Pending> pending,
                                      std::uint64_t at) = 0;
    /// One of `count` sleepers, longest asleep first.
    [[nodiscard]] virtual std::size_t pick(std::size_t count) = 0;
    /// The task asks for its turn to end: it repeats something until another task has run.
    virtual void gives_way(TaskId) {}
    virtual void started(TaskId) {}
};

/// Goes on with the running task mostly, and otherwise with any.
class RandomWalk final : public Strategy {
public:
    /// Switches at one in `rarity` points.
    RandomWalk(std::uint64_t seed, unsigned rarity) : random_(seed), rarity_(rarity) {}
    [[nodiscard]] TaskId next(std::span<const TaskId> ready, TaskId current, std::span<const Pending> pending,
                              std::uint64_t at) override;
    [[nodiscard]] std::size_t pick(std::size_t) override { return 0; }
    void gives_way(TaskId) override { tired_ = true; }

private:
    std::minstd_rand random_;
    const unsigned rarity_;
    bool tired_ = false;
};

/// Priorities with a few random change points: finds a bug that takes d ordered steps with probability of at least
/// 1/(n * k^(d-1)). (S. Burckhardt et al.: "A randomized scheduler with probabilistic guarantees of finding bugs",
/// ASPLOS 2010.)
class PriorityChanges final : public Strategy {
public:
    /// `changes` within the first `length` points.
    PriorityChanges(std::uint64_t seed, unsigned changes, std::uint64_t length);
    [[nodiscard]] TaskId next(std::span<const TaskId> ready, TaskId current, std::span<const Pending> pending,
                              std::uint64_t at) override;
    [[nodiscard]] std::size_t pick(std::size_t) override { return 0; }
    void gives_way(TaskId id) override { priority_[id] = --lowest_; }
    void started(TaskId id) override;

private:
    std::minstd_rand random_;
    std::vector<std::uint64_t> changes_;  // points, ascending
    std::size_t change_ = 0;
    std::vector<std::int64_t> priority_;  // by task; higher runs
    std::int64_t lowest_ = 0;
};

/// A forced switch: at that point, to that task.
struct Switch {
    std::uint64_t at = 0;
    TaskId to = 0;
};

/// Goes on with the running task but for the given switches; where a task cannot go on, with the next by number.
class Replay final : public Strategy {
public:
    explicit Replay(std::vector<Switch> switches) : switches_(std::move(switches)) {}
    [[nodiscard]] TaskId next(std::span<const TaskId> ready, TaskId current, std::span<const Pending> pending,
                              std::uint64_t at) override;
    [[nodiscard]] std::size_t pick(std::size_t) override { return 0; }
    void gives_way(TaskId id) override { tired_ = id; }

private:
    std::vector<Switch> switches_;
    std::size_t used_ = 0;
    TaskId tired_ = nobody;
};

/// The strategy that a seed stands for.
[[nodiscard]] std::unique_ptr<Strategy> strategy_of(std::uint64_t seed);

}  // namespace penumbra::test::sim
