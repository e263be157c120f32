#include "tests/sim/state_hash.hpp"

#include <bit>

namespace penumbra::test::sim {

namespace {

/// The finalizer of MurmurHash3 (A. Appleby).
std::uint64_t scattered(std::uint64_t x) {
    x = (x ^ (x >> 33)) * 0xFF51'AFD7'ED55'8CCDU;
    x = (x ^ (x >> 33)) * 0xC4CE'B9FE'1A85'EC53U;
    return x ^ (x >> 33);
}

std::uint64_t number_of(const void* object) { return reinterpret_cast<std::uintptr_t>(object); }

}  // namespace

void Hash::mix(std::uint64_t value) {
    low = scattered(low ^ value) + 0x9E37'79B9'7F4A'7C15U;
    high = scattered(std::rotl(high, 23) + value * 0xD6E8'FEB8'6659'FD93U) ^ low;
}

void StateHash::begin() {
    seen_.clear();
    writers_.clear();
}

void StateHash::observe(TaskId task, Step step, const void* object) {
    // Who holds a lock or sleeps is told by the threads' own pasts and by who can run.
    if (step != Step::entry_read && step != Step::entry_write && step != Step::host) return;
    if (object == nullptr) return;
    if (seen_.size() <= task) seen_.resize(task + 1);
    Hash& seen = seen_[task];
    const void* about = memory_.object_of(object);
    seen.mix(static_cast<std::uint64_t>(step));
    seen.mix(number_of(about));
    if (const std::optional<std::uint64_t> value = memory_.value_of(about)) return seen.mix(*value);
    Hash& writer = writers_[about];
    seen.mix(writer.low);
    seen.mix(writer.high);
    if (step != Step::entry_read) writer = seen;
}

Hash StateHash::state(std::span<const TaskId> ready, std::span<const Pending> pending) const {
    Hash state;
    for (const Hash& seen : seen_) {
        state.mix(seen.low);
        state.mix(seen.high);
    }
    for (const auto& [object, writer] : writers_) {
        state.mix(number_of(object));
        state.mix(writer.low);
    }
    for (const TaskId id : ready) {
        state.mix(id);
        state.mix(static_cast<std::uint64_t>(pending[id].step));
        state.mix(number_of(pending[id].object));
    }
    memory_.add_all(state);
    return state;
}

}  // namespace penumbra::test::sim
