#include "tests/sim/run.hpp"

#include <optional>
#include <utility>

#include "base/planted.hpp"
#include "base/thread.hpp"
#include "tests/sim/actors.hpp"
#include "tests/sim/threads.hpp"
#include "tests/sim/world.hpp"

namespace penumbra::test::sim {

namespace {

/// The first simulated thread: builds the machine, lets the actors work, and takes it down.
class Director {
public:
    Director(const Plan& plan, Threads& threads, Model& model, Seen& seen)
        : plan_(plan), threads_(threads), model_(model), seen_(seen) {}

    void run() {
        world_ = std::make_unique<World>(plan_, threads_, model_);
        std::vector<Thread> guests;
        std::vector<Thread> hosts;
        for (std::uint32_t i = 0; i < plan_.actors.size(); ++i) {
            const Actor& actor = plan_.actors[i];
            if (actor.actions.empty()) continue;
            const Op op = actor.actions.front().op;
            auto& group = Player::invalidates(op) ? hosts : guests;
            group.emplace_back(actor.name, Player::role_of(op), [this, &actor, i] {
                Player(*world_, actor, i % HostMemory::most_vcpus, seen_, running_).run();
            });
        }
        hosts.clear();
        if (plan_.early_release) {
            world_->stop_paging();
            model_.releasing();
            world_->space.release();
        }
        guests.clear();
        calm();
        if (!plan_.early_release) world_->verify_all();
        world_->stop_paging();
        model_.check_quiet();
        account();
        world_.reset();
    }
    [[nodiscard]] const World* world() const { return world_.get(); }

private:
    static void calm() {
#if defined(PENUMBRA_TEST_SWITCHES)
        plant(Plant::full_disk, 0);
        plant(Plant::short_read, 0);
#endif
    }
    void account() {
        const HostMemory::Counts& host = world_->host.counts();
        const vmm::PagerStats& pager = world_->state->stats;
        seen_.put_in += host.put_in;
        seen_.refused += host.refused;
        seen_.taken += host.taken;
        seen_.kept += host.kept;
        seen_.dropped += host.dropped;
        seen_.rescued += pager.rescued.get();
        seen_.swapped_in += pager.swapped_in.get();
        seen_.zero_pages += pager.zero_pages.get();
        seen_.would_block += pager.would_block.get();
        seen_.waits_for_room += pager.waits_for_room.get();
    }

    const Plan& plan_;
    Threads& threads_;
    Model& model_;
    Seen& seen_;
    std::array<unsigned, op_count> running_{};
    std::unique_ptr<World> world_;
};

}  // namespace

TaskId Recorder::next(std::span<const TaskId> ready, TaskId current, std::span<const Pending> pending,
                      std::uint64_t at) {
    const TaskId chosen = inner_->next(ready, current, pending, at);
    if (chosen != usual_.next(ready, current, pending, at)) switches_.push_back({at, chosen});
    return chosen;
}

void Recorder::gives_way(TaskId id) {
    usual_.gives_way(id);
    inner_->gives_way(id);
}

void play(const Plan& plan, Strategy& strategy, Seen& seen, const std::function<void(Failure)>& failed) {
    Trace trace;
    Director* directing = nullptr;
    Threads* threads_now = nullptr;
    Model* model_now = nullptr;
    const auto fail = [&](std::string_view what) {
        Failure failure;
        failure.steps = seen.steps + threads_now->steps();
        failure.what = what;
        const World* world = directing->world();
        failure.trace = trace.text(
            160, [&](TaskId id) { return id == nobody ? std::string("?") : threads_now->name_of(id); },
            [&](const void* object) { return world == nullptr ? std::string() : world->describe(object); });
        if (const auto* recorder = dynamic_cast<const Recorder*>(&strategy)) failure.switches = recorder->switches();
        failed(std::move(failure));
    };
    Threads threads(strategy, trace, {.check = [&] { model_now->check(); }, .failed = fail, .is_point = {}});
    Model model(plan.pages, [&](std::string_view what) { threads.fail(what); });
    Director director(plan, threads, model, seen);
    directing = &director;
    threads_now = &threads;
    model_now = &model;
    threads.run([&] { director.run(); });
    seen.steps += threads.steps();
    ++seen.seeds;
}

Job seeds(std::uint64_t first, std::uint64_t count) {
    return [first, count](std::uint64_t n) -> std::optional<Play> {
        if (n == count) return std::nullopt;
        return Play{plan_of(first + n), strategy_of(first + n)};
    };
}

}  // namespace penumbra::test::sim
