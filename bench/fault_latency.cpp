// Latency of a fault on guest memory, as a host thread and a guest in ring 0 and ring 3 see it: Penumbra's against the
// barest loop that answers userfaultfd messages. Options of its own, for looking into a miss:
//   --experiments                 more variants of the bare loop
//   --reader=same|other|anywhere  puts Penumbra's reader thread on the faulting CPU, on another, or leaves it alone
#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <semaphore>
#include <thread>

#include "bench/common/arguments.hpp"
#include "bench/common/bare_variants.hpp"
#include "bench/common/fault_rounds.hpp"
#include "bench/common/ticks.hpp"
#include "bench/common/touch_guest.hpp"
#include "vmm/machine.hpp"

namespace penumbra::bench {

namespace {

constexpr std::uint32_t payload_pages = 8192;
constexpr std::uint64_t memory_bytes = 64ULL << 20;
constexpr std::uint64_t budget_bytes = 256ULL << 20;  // never reached: nothing but the benchmark takes pages out
constexpr std::uint64_t first_extra_region = 0x4000'0000;
constexpr std::uint64_t extra_region_stride = 0x0400'0000;

struct Options {
    LoopSet loops = LoopSet::compared;
    Placement reader = Placement::anywhere;
};

struct Accessor {
    std::string name;
    std::optional<abi::Ring> ring;  ///< none: a host thread
};
const std::array<Accessor, 3> accessors{
    {{"host", std::nullopt}, {"ring0", abi::Ring::kernel}, {"ring3", abi::Ring::user}}};

constexpr std::size_t compared_loops = 3;  // the rest of bare_loops() are experiments

class Bench {
public:
    Bench(Report& report, const Options& options) : report_(report), options_(options) {}
    [[nodiscard]] Result<> run();

private:
    [[nodiscard]] Result<> build();
    [[nodiscard]] Result<> build_backings();
    [[nodiscard]] Result<> measure(const Accessor& accessor);
    void report_rows(const Accessor& accessor, const FaultRounds& rounds);
    void report_sides();
    void measure_idle();
    [[nodiscard]] double microseconds(std::uint64_t ticks) const {
        return static_cast<double>(ticks) * 1000.0 / static_cast<double>(guest_->tsc_khz());
    }

    Report& report_;
    const Options options_;
    Cpus cpus_;
    std::optional<PayloadPages> payload_;
    std::optional<DecompressionProbe> probe_;
    std::unique_ptr<vmm::MemorySystem> memory_;
    std::unique_ptr<TouchGuest> guest_;
    std::vector<std::unique_ptr<Backing>> backings_;
    std::map<std::string, CpuTime> cpu_by_backing_;
    std::map<std::string, Row> worst_;
};

Result<> Bench::build() {
    PENUMBRA_TRY_ASSIGN(cpus_, Cpus::choose());
    PENUMBRA_TRY_ASSIGN(PayloadPages payload, PayloadPages::load(payload_pages, DecompressionProbe::compresses));
    payload_.emplace(std::move(payload));
    probe_.emplace(*payload_);
    vmm::MemoryOptions memory;
    memory.memory_bytes = memory_bytes;
    memory.budget_bytes = budget_bytes;
    memory.compress = true;
    memory.on_error = [](const Error& error) { fmt::print(stderr, "{}\n", error.message()); };
    memory.on_served = [](pid_t) {};
    PENUMBRA_TRY_ASSIGN(memory_, vmm::MemorySystem::create(std::move(memory)));
    PENUMBRA_TRY_ASSIGN(guest_, TouchGuest::create(*memory_));
    for (std::uint32_t i = 0; i < payload_pages; ++i) {
        PENUMBRA_TRY(memory_->write(guest_->first_data() + i * page_bytes, payload_->page(i)));
    }
    if (options_.reader != Placement::anywhere) cpus_.place(thread_named("fault-reader"), options_.reader);
    return build_backings();
}

Result<> Bench::build_backings() {
    using Depth = PenumbraBacking::Depth;
    backings_.push_back(std::make_unique<PenumbraBacking>("lz4", *memory_, guest_->first_data(), Depth::packed));
    backings_.push_back(std::make_unique<PenumbraBacking>("limbo", *memory_, guest_->first_data(), Depth::limbo));
    Gpa guest{first_extra_region};
    for (const BareLoopOptions& options : bare_loops(options_.loops)) {
        PENUMBRA_TRY_ASSIGN(std::unique_ptr<BareLoop> loop, BareLoop::create(*payload_, options, cpus_));
        PENUMBRA_TRY(guest_->add_region(guest, loop->pages()));
        backings_.push_back(std::make_unique<BareBacking>(std::move(loop), guest));
        guest += extra_region_stride;
    }
    PENUMBRA_TRY_ASSIGN(MappedRegion plain, MappedRegion::anonymous(payload_pages * page_bytes));
    PENUMBRA_TRY(plain.keep_private());
    PENUMBRA_TRY(guest_->add_region(guest, plain.pages()));
    backings_.push_back(std::make_unique<PlainBacking>(std::move(plain), guest));
    return {};
}

Result<> Bench::measure(const Accessor& accessor) {
    fmt::print(stderr, "touching from {} ...\n", accessor.name);
    const vmm::PagerStats& stats = memory_->state().stats;
    const std::uint64_t rescued = stats.rescued.get();
    const std::uint64_t unpacked = stats.swapped_in.get();
    RoundsPlan plan;
    plan.population = payload_pages;
    FaultRounds rounds(backings_, plan, *probe_);
    // As a machine with such a guest would choose for itself.
    const vmm::GuestRing ring = accessor.ring == abi::Ring::user ? vmm::GuestRing::ring3 : vmm::GuestRing::ring0;
    memory_->workers().set_reading(vmm::best_fault_reading(vmm::kvm_flavour(), ring, 1));
    PENUMBRA_TRY(accessor.ring ? guest_->run(*accessor.ring, rounds) : rounds.touch_from_host());
    PENUMBRA_TRY(rounds.outcome());
    const std::uint64_t touches = std::uint64_t{plan.rounds + 1} * plan.per_round;
    if (stats.rescued.get() - rescued != touches || stats.swapped_in.get() - unpacked != touches) {
        return fail("find every touched page", "where it was put");
    }
    report_rows(accessor, rounds);
    return {};
}

void Bench::report_rows(const Accessor& accessor, const FaultRounds& rounds) {
    const auto row = [&](const std::string& what, double value, std::optional<double> baseline = {},
                         std::optional<double> target = {}) {
        const Row added{what + "_" + accessor.name, value, "us", baseline, target, Better::lower};
        report_.add(added);
        const auto worst = worst_.try_emplace(what, added).first;
        if (target && *added.ratio() > *worst->second.ratio()) worst->second = added;
    };
    std::vector<double> p50;
    for (const Samples& samples : rounds.samples()) p50.push_back(microseconds(quantile(samples.ticks, 500)));
    const double best = *std::min_element(p50.begin() + 2, p50.begin() + 2 + compared_loops);
    const double unpack = microseconds(quantile(rounds.decompression_ticks(), 500));
    constexpr double allowed = 1.15;
    constexpr double allowed_unpacking = 1.3;
    row("limbo", p50[1], best, allowed);
    row("lz4", p50[0], best * allowed + unpack * allowed_unpacking, 1.0);
    for (std::size_t i = 2; i < backings_.size(); ++i) row(backings_[i]->name() + "_p50", p50[i]);
    row("LZ4_decompress_safe_p50", unpack);
    for (std::size_t i = 0; i < backings_.size(); ++i) {
        row(backings_[i]->name() + "_p99", microseconds(quantile(rounds.samples()[i].ticks, 990)));
        cpu_by_backing_[backings_[i]->name()] += rounds.samples()[i].cpu;
    }
}

void Bench::report_sides() {
    report_.note(
        "All sides: the same 4 KiB pages in random order, cold; the thread that faults is pinned to one CPU. All but");
    report_.note(
        "first_touch: userfaultfd in modes MISSING and WP. A side's CPU time is the whole process's around its "
        "touches.");
    for (const char* name : {"limbo", "lz4"}) {  // of the three who touch, the one that fares worst
        const auto worst = worst_.find(name);
        if (worst == worst_.end()) continue;
        Row row = worst->second;
        row.name = name;
        report_.add(row);
    }
    for (const auto& backing : backings_) {
        report_.add(Side{backing->name(), backing->settings(), cpu_by_backing_[backing->name()]});
    }
}

void Bench::measure_idle() {
    constexpr double seconds = 3;
    constexpr double allowed_share = 0.01;
    const CpuTime before = CpuTime::of_process();
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    const double share = (CpuTime::of_process() - before).total() / seconds;
    report_.add(Row{"idle_cpu", share, "share of one CPU", allowed_share, 1.0, Better::lower});
}

Result<> Bench::run() {
    PENUMBRA_TRY(build());
    Result<> outcome;
    std::binary_semaphore done{0};
    std::binary_semaphore leave{0};
    Thread vcpu("vcpu-0", ThreadRole::vcpu, [&] {
        cpus_.place(0, Placement::faulting_cpu);
        for (const Accessor& accessor : accessors) {
            if (outcome) outcome = measure(accessor);
        }
        done.release();
        leave.acquire();  // parked outside the guest while the idle machine is looked at
    });
    done.acquire();
    if (outcome) measure_idle();
    leave.release();
    vcpu.join();
    report_sides();
    backings_.clear();
    guest_.reset();
    return outcome;
}

}  // namespace

}  // namespace penumbra::bench

int main(int count, char** arguments) {
    using namespace penumbra::bench;
    Options options;
    const auto output = parse_arguments(count, arguments, [&](std::string_view word) {
        if (word == "--experiments") return options.loops = LoopSet::with_experiments, true;
        if (word == "--reader=same") return options.reader = Placement::faulting_cpu, true;
        if (word == "--reader=other") return options.reader = Placement::other_cpu, true;
        return word == "--reader=anywhere";
    });
    if (!output) return 2;
    Report report("fault_latency", {"limbo", "lz4", "limbo_host", "limbo_ring0", "limbo_ring3", "lz4_host", "lz4_ring0",
                                    "lz4_ring3", "idle_cpu"});
    Bench bench(report, options);
    const penumbra::Result<> outcome = bench.run();
    return report.finish(*output, outcome);
}
