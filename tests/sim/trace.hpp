// The last steps of a run, to be told when it fails.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>

#include "tests/sim/strategy.hpp"

namespace penumbra::test::sim {

struct TraceLine {
    TaskId task = nobody;
    bool is_note = false;
    Step step = Step::host;
    const void* object = nullptr;
    const char* note = nullptr;  // a literal
    std::uint64_t number = 0;
};

class Trace {
public:
    void add(const TraceLine& line) { lines_[count_++ % lines_.size()] = line; }
    void note(TaskId task, const char* text, std::uint64_t number) {
        add({.task = task, .is_note = true, .note = text, .number = number});
    }
    /// At most the last `most` lines; steps of one thread in a row that say the same are told once.
    [[nodiscard]] std::string text(std::size_t most, const std::function<std::string(TaskId)>& name,
                                   const std::function<std::string(const void*)>& object) const;

private:
    std::array<TraceLine, 1024> lines_;
    std::uint64_t count_ = 0;
};

}  // namespace penumbra::test::sim
