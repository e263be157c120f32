// All interleavings of a small scene: runs it again and again, each time along another path of the tree of choices,
// until there is none left (P. Godefroid: "Model checking for programming languages using VeriSoft", POPL 1997).
#pragma once

#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tests/sim/state_hash.hpp"
#include "tests/sim/strategy.hpp"

namespace penumbra::test::sim {

enum class Reduction : std::uint8_t {
    none,
    /// Of interleavings that differ by the order of independent steps only one is run to its end. What a thread does
    /// from one choice to the next depends on what another does where both touch an object, points or not, and one of
    /// them writes. (P. Godefroid: "Partial-order methods for the verification of concurrent systems", LNCS 1032,
    /// chapter 5.)
    sleep_sets,
    /// Besides, a state that was reached before is left at once, unless threads slept there that do not now. (The same,
    /// chapter 6.) Needs a StateHash.
    states,
};

class Explorer final : public Strategy {
public:
    /// The scene's first task starts the others and waits for them: it needs no choice.
    static constexpr TaskId joiner = 0;

    /// `states` is told of every step of the scene; null where only paths are told apart. A task that has made `steps`
    /// of its steps goes on from there for as long as it can, with no other choice.
    Explorer(Reduction reduction, StateHash* states, unsigned steps)
        : reduction_(reduction), states_(states), steps_(steps) {}

    /// Before each run.
    void begin() {
        depth_ = 0;
        idle_ = false;
        done_.clear();
        taken_.clear();
        if (states_ != nullptr) states_->begin();
    }
    /// The task is about to touch the object.
    void touched(TaskId task, Step step, const void* object) { done_.add(task, object, step != Step::entry_read); }
    /// After a run; false: that was the last path.
    [[nodiscard]] bool advance();
    /// The run in progress only repeats another one; its rest does not matter.
    [[nodiscard]] bool is_repetition() const { return idle_; }
    [[nodiscard]] std::uint64_t choices() const { return choices_; }
    [[nodiscard]] std::size_t deepest() const { return deepest_; }
    /// Different states that were met; 0 without a StateHash.
    [[nodiscard]] std::size_t states() const { return met_.size(); }

    static constexpr unsigned all_steps = ~0U;

    [[nodiscard]] TaskId next(std::span<const TaskId> ready, TaskId current, std::span<const Pending> pending,
                              std::uint64_t at) override;
    [[nodiscard]] std::size_t pick(std::size_t) override { return 0; }

private:
    /// Tasks by number, a bit each.
    using Tasks = std::uint64_t;
    static Tasks bit(TaskId id) { return Tasks{1} << id; }

    /// What was touched, and who ran, from a choice to the next.
    class Footprint {
    public:
        void add(TaskId task, const void* object, bool writes);
        void clear() {
            touches_.clear();
            tasks_ = 0;
        }
        [[nodiscard]] bool has(TaskId task) const { return (tasks_ & bit(task)) != 0; }
        [[nodiscard]] bool depends_on(const Footprint& other) const;

    private:
        std::vector<std::pair<const void*, bool>> touches_;
        Tasks tasks_ = 0;
    };
    struct Option {
        TaskId id = 0;
        Footprint footprint;  // known once it was run
    };
    struct Node {
        std::vector<Option> options;  // those that may be run here
        std::vector<Option> asleep;   // what other paths have run already
        std::size_t chosen = 0;
    };
    [[nodiscard]] TaskId decide(std::span<const TaskId> ready, std::span<const Pending> pending);
    [[nodiscard]] bool needs_no_choice(TaskId id, const Pending& pending) const;
    [[nodiscard]] Hash state(std::span<const TaskId> ready, std::span<const Pending> pending) const;
    void grow(std::span<const TaskId> ready, std::span<const Pending> pending);
    /// What is left to be run from the state that `node` begins.
    [[nodiscard]] Tasks left_in(const Node& node, std::span<const TaskId> ready, std::span<const Pending> pending);

    const Reduction reduction_;
    StateHash* const states_;
    const unsigned steps_;
    std::vector<unsigned> taken_;                      // steps of each task in this run
    std::unordered_map<Hash, Tasks, HashOfHash> met_;  // who slept whenever it was met
    /// The path's choice at `depth_ - 1` has been followed up to here.
    void note_done();

    std::vector<Node> path_;
    Footprint done_;  // since the last choice
    std::size_t depth_ = 0;
    std::size_t deepest_ = 0;
    std::uint64_t choices_ = 0;
    bool idle_ = false;
};

}  // namespace penumbra::test::sim
