// Tells whether two interleavings led to the same state, so that only one of them need be continued.
//
// What a thread will do depends on what it has seen, and on the memory that it will see. So a state is: for each thread
// a hash of all it has seen so far, in order; and the memory itself. Memory whose value can be asked for is taken by
// value; of the rest it is known who wrote it last, having seen what.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "tests/sim/strategy.hpp"

namespace penumbra::test::sim {

/// 128 bits, so that two of some millions of states have one by chance once in 10^24 times.
struct Hash {
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    friend bool operator==(const Hash&, const Hash&) = default;

    /// Order counts.
    void mix(std::uint64_t value);
};

struct HashOfHash {
    std::size_t operator()(const Hash& hash) const { return static_cast<std::size_t>(hash.low); }
};

class StateHash {
public:
    struct Memory {
        /// The value of an object now, or nothing: then its last writer stands for it.
        std::function<std::optional<std::uint64_t>(const void*)> value_of;
        /// Which object a step is really about.
        std::function<const void*(const void*)> object_of;
        /// All that has a value, in one number each.
        std::function<void(Hash&)> add_all;
    };
    explicit StateHash(Memory memory) : memory_(std::move(memory)) {}

    void begin();
    /// The task is about to make that step, and nobody runs before it has.
    void observe(TaskId task, Step step, const void* object);
    /// The task is where it began, and remembers nothing.
    void start_over(TaskId task) {
        if (task < seen_.size()) seen_[task] = {};
    }
    /// Between steps: with what each task that can run is about to do.
    [[nodiscard]] Hash state(std::span<const TaskId> ready, std::span<const Pending> pending) const;

private:
    Memory memory_;
    std::vector<Hash> seen_;               // by task
    std::map<const void*, Hash> writers_;  // of objects without a value
};

}  // namespace penumbra::test::sim
