// Plays a plan under a strategy, here or in a process of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/sim/plan.hpp"
#include "tests/sim/seen.hpp"
#include "tests/sim/strategy.hpp"

namespace penumbra::test::sim {

/// What went wrong first.
struct Failure {
    std::uint64_t index = 0;       ///< of the job's play
    std::uint64_t steps = 0;       ///< all steps up to there, earlier plays' too
    std::string what;              ///< the same for the same kind of failure, up to the first " ("
    std::string trace;             ///< the last steps
    std::vector<Switch> switches;  ///< all of them, if the strategy was recorded

    [[nodiscard]] std::string kind() const { return what.substr(0, what.find(" (")); }
};

/// Goes with a strategy and keeps its choices in Replay's terms.
class Recorder final : public Strategy {
public:
    explicit Recorder(std::unique_ptr<Strategy> inner) : inner_(std::move(inner)) {}
    [[nodiscard]] TaskId next(std::span<const TaskId> ready, TaskId current, std::span<const Pending> pending,
                              std::uint64_t at) override;
    [[nodiscard]] std::size_t pick(std::size_t count) override { return inner_->pick(count); }
    void gives_way(TaskId id) override;
    void started(TaskId id) override { inner_->started(id); }
    [[nodiscard]] const std::vector<Switch>& switches() const { return switches_; }

private:
    std::unique_ptr<Strategy> inner_;
    Replay usual_{{}};
    std::vector<Switch> switches_;
};

/// Plays it on the calling thread. `failed` is called with the first thing that goes wrong, and must not return.
void play(const Plan& plan, Strategy& strategy, Seen& seen, const std::function<void(Failure)>& failed);

/// One play of a job.
struct Play {
    Plan plan;
    std::unique_ptr<Strategy> strategy;
};
/// The n-th play; nullopt: that was all.
using Job = std::function<std::optional<Play>(std::uint64_t)>;

struct Report {
    Seen seen;  ///< of all plays that went well
    std::optional<Failure> failure;
};

/// What a child tells its parent while it works.
struct Reporter {
    Seen& seen;
    std::uint64_t& index;                 ///< of what it is at
    std::function<void(Failure)> failed;  ///< does not return
};
/// Does the work in a child of this process. A child that crashes or hangs has failed too.
[[nodiscard]] Report work_apart(const std::function<void(Reporter&)>& work);

/// Does a job in a child, up to its first failure.
[[nodiscard]] Report play_apart(const Job& job);

/// A job of `count` seeds from `first` on.
[[nodiscard]] Job seeds(std::uint64_t first, std::uint64_t count);

}  // namespace penumbra::test::sim
