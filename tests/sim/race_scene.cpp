#include "tests/sim/race_scene.hpp"

#include <array>
#include <set>
#include <utility>

#include "base/thread.hpp"
#include "notifier-bridge/source/memory_ops.hpp"
#include "shadow-mmu/fault/window_source.hpp"
#include "shadow-mmu/tables/device_table.hpp"
#include "tests/sim/host_memory.hpp"
#include "tests/sim/threads.hpp"
#include "tests/sim/world.hpp"

namespace penumbra::test::sim {

namespace {

constexpr Hvp window_page{0x1234'5000};
constexpr Gfn guest_page{16};

/// Keeps the page while it is out.
class OnePage final : public mmu::PageSource {
public:
    OnePage() : memory_(std::make_unique<std::array<std::byte, page_bytes>>()) {}

    [[nodiscard]] Result<mmu::ResolvedPage> resolve(Hvp, mmu::FaultAccess) override {
        schedule_point(Step::entry_read, &version_);
        return mmu::ResolvedPage{.content = content(), .ticket = version_};
    }
    [[nodiscard]] std::optional<mmu::Content> commit(Hvp, mmu::ResolvedPage& resolved) override {
        if (resolved.ticket != version_) return std::nullopt;
        return resolved.content;
    }
    void conclude(Hvp, mmu::ResolvedPage&, mmu::Conclusion) override {}
    void keep(Stamp stamp) {
        schedule_point(Step::entry_write, &version_);
        ++version_;
        put_stamp(memory_->data(), stamp);
    }

private:
    [[nodiscard]] mmu::Content content() const { return {mmu::Content::Kind::copy, hva_of(memory_->data())}; }

    std::unique_ptr<std::array<std::byte, page_bytes>> memory_;
    std::uint64_t version_ = 0;
};

class Scene {
public:
    Scene(Explorer& explorer, Grain grain, Reporter& reporter)
        : explorer_(explorer), grain_(grain), reporter_(reporter), staging_(staging()) {
        host_.set_staging(staging_.pages());
    }

    void run(const std::vector<Part>& parts) {
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
                         .is_point = [this](Step step, const void* object) { return is_point(step, object); }});
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
        const auto within = [object](const void* at, std::size_t bytes) {
            return object >= at && object < static_cast<const std::byte*>(at) + bytes;
        };
        const bool sequence =
            within(&ept_.sequence(), sizeof ept_.sequence()) || within(&device_.sequence(), sizeof device_.sequence());
        if (grain_ == Grain::writes) return sequence || (step == Step::entry_write && leaves_.contains(object));
        return sequence || leaves_.contains(object) || within(&source_, sizeof source_);
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
        if (host_.stamp(window_page) != expected_) fail("content: an old version was read");
        host_.write(window_page, ++expected_);
    }
    void vcpu(std::size_t number) {
        while (!host_.reaches(number % HostMemory::most_vcpus, window_page)) {
            if (!mmu::handle_fault(ept_, source_, guest_page, mmu::FaultAccess::write)) fail("supply: a fault failed");
        }
        touch();
    }
    void device() {
        for (;;) {
            if (const auto access = device_.access(guest_page)) return touch();
            if (!mmu::handle_fault(device_, window_source_, guest_page, mmu::FaultAccess::write))
                fail("supply: a device's fault failed");
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
            expected_ = 0;
            source_.keep(0);
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
        source_.keep(0);
    }

    Explorer& explorer_;
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
    std::set<const void*> leaves_{leaf_of(ept_), leaf_of(device_)};
    Stamp expected_ = 0;
    bool quiet_ = false;

    template <class Table>
    static const void* leaf_of(Table& table) {
        // Linked now, so that no run has to.
        PENUMBRA_ASSERT(table.claim(guest_page) == mmu::Claim::taken, "an empty table refused a claim");
        table.abandon(guest_page);
        return Watch<Table>::leaf(table);
    }
    /// Finds the leaf's address: what a look at the entry touches last.
    template <class Table>
    struct Watch final : Scheduler {
        static const void* leaf(Table& table) {
            Watch watch;
            const ScheduledBy scope(&watch);
            (void)table.state_of(guest_page);
            return watch.last;
        }
        void point(Step, const void* object) override { last = object; }
        bool sleep(const void*, Time) override { return true; }
        void wake(const void*, Wake) override {}
        [[nodiscard]] Time now() const override { return {}; }
        std::uint64_t start_thread(std::string, std::function<void()>) override { return 0; }
        void join_thread(std::uint64_t) override {}
        [[nodiscard]] std::uint64_t thread_number() const override { return 1; }
        [[nodiscard]] std::shared_ptr<void>& own(const void*) override { return thing; }
        [[nodiscard]] unsigned& read_sections() override { return sections; }
        void wait_for_readers() override {}
        [[noreturn]] void broken(std::string_view) override { std::abort(); }
        const void* last = nullptr;
        std::shared_ptr<void> thing;
        unsigned sections = 0;
    };
};

}  // namespace

Report explore_race(const std::vector<Part>& parts, Grain grain, Reduction reduction, std::uint64_t most_runs,
                    Exploration& result) {
    // The child's counts come back in `seen`.
    Report report = work_apart([&](Reporter& reporter) {
        Explorer explorer(reduction);
        auto& scene = *new Scene(explorer, grain, reporter);  // ends with the process
        bool more = true;
        while (more && reporter.index < most_runs) {
            explorer.begin();
            scene.run(parts);
            ++reporter.index;
            ++(explorer.is_repetition() ? reporter.seen.retries : reporter.seen.seeds);
            more = explorer.advance();
        }
        reporter.seen.put_in = explorer.choices();
        reporter.seen.taken = explorer.deepest();
        reporter.seen.kept = more ? 0 : 1;
    });
    result = {.runs = report.seen.seeds,
              .repetitions = report.seen.retries,
              .choices = report.seen.put_in,
              .deepest = report.seen.taken,
              .complete = report.seen.kept == 1};
    return report;
}

}  // namespace penumbra::test::sim
