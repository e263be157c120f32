// All interleavings of a small scene: runs it again and again, each time along another path of the tree of choices,
// until there is none left (P. Godefroid: "Model checking for programming languages using VeriSoft", POPL 1997).
#pragma once

#include <cstdint>
#include <vector>

#include "tests/sim/strategy.hpp"

namespace penumbra::test::sim {

enum class Reduction : std::uint8_t {
    none,
    /// Of interleavings that differ by the order of independent steps only one is run to its end. Steps depend on each
    /// other when they are about the same object and one of them writes. (P. Godefroid: "Partial-order methods for the
    /// verification of concurrent systems", LNCS 1032, chapter 5.)
    sleep_sets,
};

class Explorer final : public Strategy {
public:
    explicit Explorer(Reduction reduction) : reduction_(reduction) {}

    /// Before each run.
    void begin() {
        depth_ = 0;
        idle_ = false;
    }
    /// After a run; false: that was the last path.
    [[nodiscard]] bool advance();
    /// The run in progress only repeats another one; its rest does not matter.
    [[nodiscard]] bool is_repetition() const { return idle_; }
    [[nodiscard]] std::uint64_t choices() const { return choices_; }
    [[nodiscard]] std::size_t deepest() const { return deepest_; }

    [[nodiscard]] TaskId next(std::span<const TaskId> ready, TaskId current, std::span<const Pending> pending,
                              std::uint64_t at) override;
    [[nodiscard]] std::size_t pick(std::size_t) override { return 0; }

private:
    struct Option {
        TaskId id = 0;
        Pending pending;
    };
    struct Node {
        std::vector<Option> options;  // those that may be run here
        std::vector<Option> asleep;   // what other paths have run already
        std::size_t chosen = 0;
    };
    [[nodiscard]] static bool depend(const Pending& a, const Pending& b);
    void grow(std::span<const TaskId> ready, std::span<const Pending> pending);

    const Reduction reduction_;
    std::vector<Node> path_;
    std::size_t depth_ = 0;
    std::size_t deepest_ = 0;
    std::uint64_t choices_ = 0;
    bool idle_ = false;
};

}  // namespace penumbra::test::sim
