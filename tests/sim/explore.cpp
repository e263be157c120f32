#include "tests/sim/explore.hpp"

#include <algorithm>
#include <utility>

namespace penumbra::test::sim {

void Explorer::Footprint::add(TaskId task, const void* object, bool writes) {
    tasks_ |= bit(task);
    if (object == nullptr) return;
    const auto known = std::ranges::find(touches_, object, &std::pair<const void*, bool>::first);
    if (known == touches_.end()) {
        touches_.emplace_back(object, writes);
    } else {
        known->second = known->second || writes;
    }
}

bool Explorer::Footprint::depends_on(const Footprint& other) const {
    return std::ranges::any_of(touches_, [&](const auto& mine) {
        return std::ranges::any_of(other.touches_, [&](const auto& theirs) {
            return mine.first == theirs.first && (mine.second || theirs.second);
        });
    });
}

void Explorer::note_done() {
    if (depth_ > 0) path_[depth_ - 1].options[path_[depth_ - 1].chosen].footprint = done_;
    done_.clear();
}

bool Explorer::needs_no_choice(TaskId id, const Pending& pending) const {
    // What touches nothing shared: a thread's first step, and the one that waits for the others.
    return id == joiner || pending.object == nullptr || (id < taken_.size() && taken_[id] >= steps_);
}

TaskId Explorer::next(std::span<const TaskId> ready, TaskId, std::span<const Pending> pending, std::uint64_t) {
    const TaskId id = decide(ready, pending);
    if (taken_.size() <= id) taken_.resize(id + 1);
    if (pending[id].object != nullptr) ++taken_[id];
    return id;
}

TaskId Explorer::decide(std::span<const TaskId> ready, std::span<const Pending> pending) {
    for (const TaskId id : ready) {
        if (needs_no_choice(id, pending[id])) return id;
    }
    if (ready.size() == 1 || idle_) return ready.front();
    note_done();
    if (depth_ == path_.size()) grow(ready, pending);
    if (idle_) return ready.front();
    const Node& node = path_[depth_++];
    ++choices_;
    deepest_ = std::max(deepest_, depth_);
    return node.options[node.chosen].id;
}

Hash Explorer::state(std::span<const TaskId> ready, std::span<const Pending> pending) const {
    Hash state = states_->state(ready, pending);
    if (steps_ == all_steps) return state;
    for (const unsigned taken : taken_) state.mix(std::min(taken, steps_));
    return state;
}

void Explorer::grow(std::span<const TaskId> ready, std::span<const Pending> pending) {
    Node node;
    if (reduction_ != Reduction::none && !path_.empty()) {
        const Node& above = path_.back();
        const Footprint& done = above.options[above.chosen].footprint;
        for (const Option& option : above.asleep) {
            if (!done.has(option.id) && !option.footprint.depends_on(done)) node.asleep.push_back(option);
        }
    }
    const Tasks left = left_in(node, ready, pending);
    for (const TaskId id : ready) {
        if ((left & bit(id)) != 0) node.options.push_back({id, {}});
    }
    if (node.options.empty()) {
        idle_ = true;
        return;
    }
    path_.push_back(std::move(node));
}

Explorer::Tasks Explorer::left_in(const Node& node, std::span<const TaskId> ready, std::span<const Pending> pending) {
    Tasks all = 0;
    for (const TaskId id : ready) all |= bit(id);
    Tasks asleep = 0;
    for (const Option& option : node.asleep) asleep |= bit(option.id);
    if (states_ == nullptr) return all & ~asleep;
    const auto [known, is_new] = met_.try_emplace(state(ready, pending), asleep);
    if (is_new || reduction_ != Reduction::states) return all & ~asleep;
    // Whoever was awake at an earlier meeting has been run from here.
    const Tasks slept = std::exchange(known->second, known->second & asleep);
    return slept & ~asleep & all;
}

bool Explorer::advance() {
    if (!idle_) note_done();
    path_.resize(depth_);
    while (!path_.empty()) {
        Node& node = path_.back();
        if (reduction_ != Reduction::none) node.asleep.push_back(node.options[node.chosen]);
        if (++node.chosen < node.options.size()) return true;
        path_.pop_back();
    }
    return false;
}

}  // namespace penumbra::test::sim
