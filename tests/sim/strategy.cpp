#include "tests/sim/strategy.hpp"

#include <algorithm>

namespace penumbra::test::sim {

namespace {

bool contains(std::span<const TaskId> ready, TaskId id) { return std::ranges::find(ready, id) != ready.end(); }

}  // namespace

TaskId RandomWalk::next(std::span<const TaskId> ready, TaskId current, std::span<const Pending>, std::uint64_t) {
    if (ready.size() == 1) return ready.front();
    const bool tired = std::exchange(tired_, false);
    if (!tired && random_() % rarity_ != 0 && contains(ready, current)) return current;
    TaskId chosen = ready[random_() % ready.size()];
    while (tired && chosen == current) chosen = ready[random_() % ready.size()];
    return chosen;
}

PriorityChanges::PriorityChanges(std::uint64_t seed, unsigned changes, std::uint64_t length) : random_(seed) {
    for (unsigned i = 0; i < changes; ++i) changes_.push_back(random_() % length);
    std::ranges::sort(changes_);
}

void PriorityChanges::started(TaskId id) {
    if (priority_.size() <= id) priority_.resize(id + 1);
    priority_[id] = static_cast<std::int64_t>(random_() % 1'000'000) + 1;
}

TaskId PriorityChanges::next(std::span<const TaskId> ready, TaskId current, std::span<const Pending>,
                             std::uint64_t at) {
    while (change_ < changes_.size() && changes_[change_] <= at) {
        if (current != nobody) priority_[current] = --lowest_;
        ++change_;
    }
    return *std::ranges::max_element(ready, {}, [this](TaskId id) { return priority_[id]; });
}

TaskId Replay::next(std::span<const TaskId> ready, TaskId current, std::span<const Pending>, std::uint64_t at) {
    while (used_ < switches_.size() && switches_[used_].at < at) ++used_;
    if (used_ < switches_.size() && switches_[used_].at == at && contains(ready, switches_[used_].to))
        return switches_[used_].to;
    const bool tired = std::exchange(tired_, nobody) == current;
    if (!tired && contains(ready, current)) return current;
    const auto after = std::ranges::upper_bound(ready, current);
    return current == nobody || after == ready.end() ? ready.front() : *after;
}

std::unique_ptr<Strategy> strategy_of(std::uint64_t seed) {
    const std::uint64_t length = seed / 4 % 2 == 0 ? 400 : 4000;  // of a run with few actors, and with many
    switch (seed % 4) {
        case 0:
            return std::make_unique<RandomWalk>(seed, 2);
        case 1:
            return std::make_unique<RandomWalk>(seed, 12);
        case 2:
            return std::make_unique<PriorityChanges>(seed, 3 + static_cast<unsigned>(seed / 8 % 8), length);
        default:
            return std::make_unique<PriorityChanges>(seed, 40, length);
    }
}

}  // namespace penumbra::test::sim
