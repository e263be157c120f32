// The simulation by hand: ./x sim.
#include <charconv>
#include <chrono>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>

#include "tests/sim/mutants.hpp"
#include "tests/sim/race_scene.hpp"
#include "tests/sim/shrink.hpp"

namespace penumbra::test::sim {
namespace {

constexpr const char* usage =
    "usage: sim seed N          replay one seed; a failing one is made small and told\n"
    "       sim steps N [FIRST] seeds from FIRST on until N steps are done\n"
    "       sim plant NAME N    as seed, with that bug planted\n"
    "       sim mutants [HUNTS] how many seeds each planted bug takes\n"
    "       sim explore         all interleavings of small scenes\n";

std::optional<std::uint64_t> number(std::string_view text) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int replay(std::uint64_t seed) {
    const std::optional<Shrunk> shrunk = shrink(seed);
    if (!shrunk) {
        std::printf("seed %llu: nothing wrong\n", static_cast<unsigned long long>(seed));
        return 0;
    }
    std::printf("seed %llu: %s", static_cast<unsigned long long>(seed), text_of(*shrunk).c_str());
    return 1;
}

int walk(std::uint64_t steps, std::uint64_t first) {
    const auto start = std::chrono::steady_clock::now();
    constexpr std::uint64_t at_once = 500;
    Seen total;
    for (std::uint64_t seed = first; total.steps < steps; seed += at_once) {
        const Report report = play_apart(seeds(seed, at_once));
        total.add(report.seen);
        if (report.failure) return replay(seed + report.failure->index);
    }
    std::printf("%s%.1f s, %.0f steps a second\n", total.text().c_str(), seconds_since(start),
                static_cast<double>(total.steps) / seconds_since(start));
    for (const std::string& kind : total.missing()) std::printf("never seen: %s\n", kind.c_str());
    return total.missing().empty() ? 0 : 1;
}

int explore() {
    struct Scene {
        const char* name;
        Scope scope;
    };
    using enum Part;
    using enum Grain;
    using enum Reduction;
    constexpr unsigned all = Explorer::all_steps;
    constexpr std::uint64_t most = 20'000'000;
    const std::vector<Scene> scenes{
        {"3 x 5: fault, swap out, discard", {{fault, swap_out, discard}, writes, sleep_sets, all, most}},
        {"3 x 5: fault, swap out, swap out", {{fault, swap_out, swap_out_now}, writes, sleep_sets, all, most}},
        {"3 x 6: fault, fault, swap out", {{fault, fault, swap_out}, reads, states, all, most}},
        {"3 x 6: device, swap out, swap out", {{device_fault, swap_out, swap_out_now}, reads, states, all, most}},
        {"4 x 6: fault, fault, swap out, swap out", {{fault, fault, swap_out, swap_out_now}, writes, states, 6, most}},
        {"4 x 6: fault, fault, swap out, discard", {{fault, fault, swap_out, discard}, writes, states, 6, most}},
        {"4 x 6: fault, device, swap out, discard",
         {{fault, device_fault, swap_out, discard}, writes, states, 6, most}},
        {"3 x 5, all orders: fault, swap out, fault", {{fault, swap_out, fault}, writes, none, 5, most}},
    };
    for (const Scene& scene : scenes) {
        const auto start = std::chrono::steady_clock::now();
        Exploration found;
        const Report report = explore_race(scene.scope, found);
        std::printf("%-45s %9llu runs, %9llu repetitions, %9llu states, %3llu choices deep, %s, %.1f s\n", scene.name,
                    static_cast<unsigned long long>(found.runs), static_cast<unsigned long long>(found.repetitions),
                    static_cast<unsigned long long>(found.states), static_cast<unsigned long long>(found.deepest),
                    found.complete ? "complete" : "cut short", seconds_since(start));
        std::fflush(stdout);
        if (!report.failure) continue;
        std::printf("%s\n%s\n", report.failure->what.c_str(), report.failure->trace.c_str());
        return 1;
    }
    return 0;
}

int hunt_all(unsigned hunts) {
    unsigned survivors = 0;
    constexpr std::uint64_t most = 5000;
    std::printf("%-26s %6s %6s  found as\n", "planted bug", "median", "most");
    std::printf("%s", mutant_table(hunts, most, survivors).c_str());
    return survivors == 0 ? 0 : 1;
}

int plant_one(std::string_view name, std::uint64_t seed) {
    for (const Mutant& mutant : mutants()) {
        if (mutant.name != name) continue;
        const Planted planted(mutant.plant);
        return replay(seed);
    }
    std::fprintf(stderr, "no such bug\n");
    return 2;
}

}  // namespace
}  // namespace penumbra::test::sim

int main(int count, char** words) {
    using namespace penumbra::test::sim;
    const std::string_view what = count > 1 ? words[1] : "";
    const auto at = [&](int i) { return count > i ? number(words[i]) : std::nullopt; };
    if (what == "seed" && at(2)) return replay(*at(2));
    if (what == "steps" && at(2)) return walk(*at(2), at(3).value_or(0));
    if (what == "plant" && at(3)) return plant_one(words[2], *at(3));
    if (what == "mutants") return hunt_all(static_cast<unsigned>(at(2).value_or(5)));
    if (what == "explore") return explore();
    std::fprintf(stderr, "%s", usage);
    return 2;
}
