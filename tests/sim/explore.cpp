#include "tests/sim/explore.hpp"

#include <algorithm>

namespace penumbra::test::sim {

bool Explorer::depend(const Pending& a, const Pending& b) {
    if (a.object != b.object || a.object == nullptr) return false;
    return a.step != Step::entry_read || b.step != Step::entry_read;
}

TaskId Explorer::next(std::span<const TaskId> ready, TaskId, std::span<const Pending> pending, std::uint64_t) {
    // What touches nothing shared needs no choice: a thread's first step, and the one that waits for the others.
    for (const TaskId id : ready) {
        if (pending[id].object == nullptr) return id;
    }
    if (ready.size() == 1 || idle_) return ready.front();
    if (depth_ == path_.size()) grow(ready, pending);
    if (idle_) return ready.front();
    const Node& node = path_[depth_++];
    ++choices_;
    deepest_ = std::max(deepest_, depth_);
    return node.options[node.chosen].id;
}

void Explorer::grow(std::span<const TaskId> ready, std::span<const Pending> pending) {
    Node node;
    if (reduction_ == Reduction::sleep_sets && !path_.empty()) {
        const Node& above = path_.back();
        const Pending& done = above.options[above.chosen].pending;
        for (const Option& option : above.asleep) {
            if (!depend(option.pending, done)) node.asleep.push_back(option);
        }
    }
    for (const TaskId id : ready) {
        const bool sleeps = std::ranges::any_of(node.asleep, [id](const Option& o) { return o.id == id; });
        if (!sleeps) node.options.push_back({id, pending[id]});
    }
    if (node.options.empty()) {
        idle_ = true;
        return;
    }
    path_.push_back(std::move(node));
}

bool Explorer::advance() {
    path_.resize(depth_);
    while (!path_.empty()) {
        Node& node = path_.back();
        if (reduction_ == Reduction::sleep_sets) node.asleep.push_back(node.options[node.chosen]);
        if (++node.chosen < node.options.size()) return true;
        path_.pop_back();
    }
    return false;
}

}  // namespace penumbra::test::sim
