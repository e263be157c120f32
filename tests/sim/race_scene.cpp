#include "tests/sim/race_scene.hpp"

#include <array>
#include <map>
#include <set>
#include <utility>

#include "base/thread.hpp"
#include "notifier-bridge/source/memory_ops.hpp"
#include "shadow-mmu/fault/window_source.hpp"
#include "shadow-mmu/tables/device_table.hpp"
#include "tests/sim/host_memory.hpp"
#include "tests/sim/leaf_finder.hpp"
#include "tests/sim/one_page.hpp"
#include "tests/sim/threads.hpp"
#include "tests/sim/world.hpp"

namespace penumbra::test::sim {

namespace {

constexpr Hvp window_page{0x1234'5000};
constexpr Gfn guest_page{16};

class Scene {
public:
    Scene(const Scope& scope, Reporter& reporter)
        : explorer_(scope.reduction,
                    scope.reduction == Reduction::states || scope.count == Count::states ? &states_ : nullptr,
                    scope.steps),
          grain_(scope.grain),
          reporter_(reporter),
          staging_(staging()) {
        host_.set_staging(staging_.pages());
    }
    [[nodiscard]] Explorer& explorer() { return explorer_; }

    void run(const std::vector<Part>& parts) {
        for (auto& [word, base] : bases_) base = *static_cast<const std::uint64_t*>(word);
        Trace trace;
        Threads threads(explorer_, trace,
                        {.check = [this] { check(); },
                         .failed =
                             [&](std::string_view what) {
                                 const auto name = [&](TaskId id) {
                                     return id < threads_->count() ? threads_->name_of(id) : std::string("?");
                                 };
                                 Failure failure;
                                 failure.what = what;
                                 failure.trace =
                                     trace.text(200, name, [this](const void* object) { return describe(object); });
                                 reporter_.failed(std::move(failure));
                             },
                         .is_point = [this](Step step, const void* object) { return is_point(step, object); },
                         .observed =
                             [this](TaskId task, Step step, const void* object) {
                                 if (!quiet_) observe(task, step, object);
                             }});
        threads_ = &threads;
        threads.run([&] {
            std::vector<Thread> actors;
            for (std::size_t i = 0; i < parts.size(); ++i) {
                actors.emplace_back("actor" + std::to_string(i), ThreadRole::vmm,
                                    [this, part = parts[i], i] { play(part, i); });
            }
            actors.clear();
            quiet_ = true;
        });
        quiet_ = false;
        check_quiet();
        reset();
        reporter_.seen.steps += threads.steps();
    }
    ~Scene() = default;

private:
    static MappedRegion staging() {
        Result<MappedRegion> made = MappedRegion::anonymous(8 * page_bytes);
        PENUMBRA_ASSERT(made.has_value(), "no memory for a simulation");
        return std::move(*made);
    }
    static mmu::Memslots slots() { return mmu::Memslots({{GfnRange{guest_page, 1}, window_page}}); }
    void fail(std::string_view what) { threads_->fail(what); }

    /// Table pages above the leaves never change here: they are linked once.
    [[nodiscard]] bool is_point(Step step, const void* object) {
        if (quiet_) return false;
        if (step == Step::host) return object == host_.wait_object(window_page);
        if (step != Step::entry_read && step != Step::entry_write) return false;
        if (grain_ == Grain::writes)
            return is_sequence(object) || (step == Step::entry_write && leaves_.contains(object));
        return is_sequence(object) || leaves_.contains(object) || object == &source_.version();
    }
    template <class Whole>
    [[nodiscard]] static bool within(const void* object, const Whole& whole) {
        return object >= &whole && object < &whole + 1;
    }
    [[nodiscard]] bool is_sequence(const void* object) {
        return within(object, ept_.sequence()) || within(object, device_.sequence());
    }

    /// Brackets lock the bridge to count who is inside, in whatever order: nobody subscribes meanwhile.
    void observe(TaskId task, Step step, const void* object) {
        if (task == Explorer::joiner || within(object, space_)) return;
        states_.observe(task, step, object);
        explorer_.touched(task, step, object_of(object));
    }

    // ---- for StateHash ----
    /// Counters that go on from run to run count from the run's beginning.
    [[nodiscard]] std::optional<std::uint64_t> value_of(const void* object) {
        if (object == host_.wait_object(window_page)) return host_.digest(window_page);
        if (object == &expected_) return expected_;
        if (leaves_.contains(object)) return *static_cast<const std::uint64_t*>(object);
        if (!is_sequence(object) && object != &source_.version()) return std::nullopt;
        const std::uint64_t now = *static_cast<const std::uint64_t*>(object);
        return now - bases_.try_emplace(object, now).first->second;
    }
    [[nodiscard]] const void* object_of(const void* object) {
        if (host_.is_about(object, window_page)) return host_.wait_object(window_page);
        if (leaves_.contains(object) || is_sequence(object)) return object;
        if (within(object, ept_)) return &ept_;
        if (within(object, device_)) return &device_;
        if (within(object, tlb_)) return &tlb_;
        return object;
    }
    void add_memory(Hash& hash) {
        for (const void* leaf : leaves_) hash.mix(*value_of(leaf));
        for (const auto& [word, base] : bases_) hash.mix(*value_of(word));
        hash.mix(host_.digest(window_page));
        hash.mix(expected_);
        hash.mix(source_.stamp() << 1 | (source_.resident() ? 1U : 0U));
        for (Hvp slot = staging_.pages().first(); slot < staging_.pages().end(); ++slot) {
            hash.mix(host_.slot_full(slot) ? stamp_at(pointer_to(slot)) + 1 : 0);
        }
    }
    [[nodiscard]] std::string describe(const void* object) const {
        if (object == host_.wait_object(window_page)) return "page";
        return leaves_.contains(object) ? "entry" : "sequence or source";
    }

    void play(Part part, std::size_t number) {
        switch (part) {
            case Part::fault:
                return vcpu(number);
            case Part::device_fault:
                return device();
            case Part::swap_out:
                return swap_out(number, bridge::Blockable::yes);
            case Part::swap_out_now:
                return swap_out(number, bridge::Blockable::no);
            case Part::discard:
                return discard();
        }
    }
    void touch() {
        if (!host_.present(window_page)) fail("stale: a page was reached that is out");
        schedule_point(Step::entry_write, &expected_);
        if (host_.stamp(window_page) != expected_) fail("content: an old version was read");
        host_.write(window_page, ++expected_);
    }
    void vcpu(std::size_t number) {
        while (!host_.reaches(number % HostMemory::most_vcpus, window_page)) {
            if (!mmu::handle_fault(ept_, source_, guest_page, mmu::FaultAccess::write, once_))
                fail("supply: a fault failed");
            states_.start_over(threads_->current());
        }
        touch();
    }
    void device() {
        for (;;) {
            if (const auto access = device_.access(guest_page)) return touch();
            if (!mmu::handle_fault(device_, window_source_, guest_page, mmu::FaultAccess::write, once_))
                fail("supply: a device's fault failed");
            states_.start_over(threads_->current());
        }
    }
    void swap_out(std::size_t number, bridge::Blockable blockable) {
        const Hvp slot = staging_.pages().first() + number;
        bridge::TakeOut outcome = bridge::TakeOut::absent;
        const auto settle = [&](std::size_t, bridge::TakeOut taken) {
            if (host_.present(window_page)) fail("bracket: the page is in an open invalidation");
            if (taken == bridge::TakeOut::taken) source_.keep(stamp_at(pointer_to(slot)));
        };
        (void)bridge::swap_out(space_, {&window_page, 1}, {&slot, 1}, {&outcome, 1}, blockable, settle);
        host_.empty_slots(HvpRange{slot, 1});
    }
    void discard() {
        bridge::discard(space_, bridge::RangeSet{HvpRange{window_page, 1}}, [this] {
            schedule_point(Step::entry_write, &expected_);
            expected_ = 0;
            source_.forget();
        });
    }

    void check() {
        const mmu::EntryState ept = ept_.state_of(guest_page);
        const bool there = host_.present(window_page);
        if (ept == mmu::EntryState::present && !there) fail("stale: the EPT table calls a page present that is out");
        if (ept == mmu::EntryState::empty && there) fail("window: a page is in that no entry names");
        if (device_.present(guest_page) && !there) fail("stale: the device's table names a page that is out");
        if (there && host_.stamp(window_page) != expected_) fail("content: the window holds an old version");
    }
    void check_quiet() {
        if (ept_.sequence().active() != 0 || device_.sequence().active() != 0)
            fail("quiet: an invalidation is counted as open for ever");
    }
    /// As it was before the run, but for versions: one page that is out, and empty tables with their table pages.
    void reset() {
        bridge::discard(space_, bridge::RangeSet{HvpRange{window_page, 1}}, [] {});
        expected_ = 0;
        source_.forget();
    }

    /// A fault that has to retry returns, so that nothing is left of the attempt but what it did to memory.
    static constexpr mmu::FaultLimits once_{.attempts = 1};

    StateHash states_{{.value_of = [this](const void* object) { return value_of(object); },
                       .object_of = [this](const void* object) { return object_of(object); },
                       .add_all = [this](Hash& hash) { add_memory(hash); }}};
    Explorer explorer_;
    const Grain grain_;
    Reporter& reporter_;
    Threads* threads_ = nullptr;
    MappedRegion staging_;
    HostMemory host_{HvpRange{window_page, 1}, 1, {}, [this](std::string_view what) { fail(what); }};
    OnePage source_;
    bridge::AddressSpace space_;
    mmu::EptTable ept_{slots(), World::arena(), host_};
    mmu::DeviceTlb tlb_;
    mmu::DeviceTable device_{"device", slots(), World::arena(), tlb_};
    mmu::WindowSource window_source_{ept_, source_};
    bridge::Subscription ept_subscription_ = space_.subscribe(ept_);
    bridge::Subscription device_subscription_ = space_.subscribe(device_);
    std::set<const void*> leaves_{leaf_of(ept_, guest_page), leaf_of(device_, guest_page)};
    std::map<const void*, std::uint64_t> bases_;  // of counters, at the run's beginning
    Stamp expected_ = 0;
    bool quiet_ = false;
};

}  // namespace

Report explore_race(const Scope& scope, Exploration& result) {
    // The child's counts come back in `seen`.
    Report report = work_apart([&](Reporter& reporter) {
        auto& scene = *new Scene(scope, reporter);  // ends with the process
        Explorer& explorer = scene.explorer();
        bool more = true;
        while (more && reporter.index < scope.most_runs) {
            explorer.begin();
            scene.run(scope.parts);
            ++reporter.index;
            ++(explorer.is_repetition() ? reporter.seen.retries : reporter.seen.seeds);
            more = explorer.advance();
        }
        reporter.seen.put_in = explorer.choices();
        reporter.seen.taken = explorer.deepest();
        reporter.seen.kept = more ? 0 : 1;
        reporter.seen.refused = explorer.states();
    });
    result = {.runs = report.seen.seeds,
              .repetitions = report.seen.retries,
              .choices = report.seen.put_in,
              .deepest = report.seen.taken,
              .states = report.seen.refused,
              .complete = report.seen.kept == 1};
    return report;
}

}  // namespace penumbra::test::sim
