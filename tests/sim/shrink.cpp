#include "tests/sim/shrink.hpp"

#include <algorithm>
#include <sstream>
#include <utility>

namespace penumbra::test::sim {

namespace {

/// Interleavings tried for each smaller plan.
constexpr std::uint64_t tries = 40;
/// Runs in all.
constexpr unsigned most_attempts = 600;

class Shrinker {
public:
    Shrinker(Plan plan, Failure failure) : best_{std::move(plan), {}, std::move(failure)} {}

    [[nodiscard]] Shrunk run() {
        for (std::size_t before = 0; before != best_.plan.actions() && attempts_ < most_attempts;) {
            before = best_.plan.actions();
            drop_actors();
            drop_actions();
            simplify();
        }
        record();
        drop_switches();
        return std::move(best_);
    }
    void set_strategy(std::uint64_t seed) { strategy_seed_ = seed; }

private:
    /// Fails the smaller plan in the same way? Then it is the best.
    bool accept(const Plan& plan) {
        if (++attempts_ > most_attempts) return false;
        const Report report = play_apart([&](std::uint64_t n) -> std::optional<Play> {
            if (n == tries) return std::nullopt;
            return Play{plan, strategy_of(n == 0 ? strategy_seed_ : n)};
        });
        if (!report.failure || report.failure->kind() != best_.failure.kind()) return false;
        if (report.failure->index != 0) strategy_seed_ = report.failure->index;
        best_.plan = plan;
        best_.failure = *report.failure;
        return true;
    }
    void drop_actors() {
        std::erase_if(best_.plan.actors, [](const Actor& actor) { return actor.actions.empty(); });
        for (std::size_t i = best_.plan.actors.size(); i-- > 0;) {
            Plan less = best_.plan;
            less.actors.erase(less.actors.begin() + static_cast<std::ptrdiff_t>(i));
            (void)accept(less);
        }
    }
    void drop_actions() {
        for (std::size_t i = 0; i < best_.plan.actors.size(); ++i) {
            for (std::size_t some = best_.plan.actors[i].actions.size(); some > 0; some /= 2) {
                for (std::size_t at = 0; at < best_.plan.actors[i].actions.size();) {
                    Plan less = best_.plan;
                    auto& actions = less.actors[i].actions;
                    const auto first = actions.begin() + static_cast<std::ptrdiff_t>(at);
                    actions.erase(first, first + static_cast<std::ptrdiff_t>(std::min(some, actions.size() - at)));
                    if (!accept(less)) at += some;
                }
            }
        }
    }
    void simplify() {
        for (std::size_t i = 0; i < best_.plan.actors.size(); ++i) {
            for (std::size_t at = 0; at < best_.plan.actors[i].actions.size(); ++at) {
                Plan simple = best_.plan;
                Action& action = simple.actors[i].actions[at];
                if (action.pages == 1 && action.linger == 0) continue;
                action.pages = 1;
                action.spread = action.linger = 0;
                (void)accept(simple);
            }
        }
        Plan simple = best_.plan;
        simple.moods = {};
        simple.early_release = false;
        (void)accept(simple);
    }
    bool replay(const std::vector<Switch>& switches) {
        const Report report = play_apart([&](std::uint64_t n) -> std::optional<Play> {
            if (n == 1) return std::nullopt;
            return Play{best_.plan, std::make_unique<Replay>(switches)};
        });
        if (!report.failure || report.failure->kind() != best_.failure.kind()) return false;
        best_.failure = *report.failure;
        return true;
    }
    void record() {
        const Report report = play_apart([&](std::uint64_t n) -> std::optional<Play> {
            if (n == 1) return std::nullopt;
            return Play{best_.plan, std::make_unique<Recorder>(strategy_of(strategy_seed_))};
        });
        if (report.failure) best_.switches = report.failure->switches;
    }
    void drop_switches() {
        for (std::size_t some = best_.switches.size(); some > 0; some /= 2) {
            for (std::size_t at = 0; at < best_.switches.size() && attempts_ < 3 * most_attempts; ++attempts_) {
                std::vector<Switch> less = best_.switches;
                const auto first = less.begin() + static_cast<std::ptrdiff_t>(at);
                less.erase(first, first + static_cast<std::ptrdiff_t>(std::min(some, less.size() - at)));
                if (replay(less)) {
                    best_.switches = std::move(less);
                } else {
                    at += some;
                }
            }
        }
        (void)replay(best_.switches);
    }

    Shrunk best_;
    std::uint64_t strategy_seed_ = 0;
    unsigned attempts_ = 0;
};

}  // namespace

std::optional<Shrunk> shrink(std::uint64_t seed) {
    Report report = play_apart(seeds(seed, 1));
    if (!report.failure) return std::nullopt;
    Shrinker shrinker(plan_of(seed), std::move(*report.failure));
    shrinker.set_strategy(seed);
    return shrinker.run();
}

std::string text_of(const Shrunk& shrunk) {
    std::ostringstream out;
    out << shrunk.failure.what << "\nin " << shrunk.plan.actions() << " actions with " << shrunk.switches.size()
        << " switches:\n"
        << shrunk.plan.text() << "\nlast steps:\n"
        << shrunk.failure.trace << '\n';
    return out.str();
}

}  // namespace penumbra::test::sim
