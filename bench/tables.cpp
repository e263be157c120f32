// What the tables cost above what any radix table of atomic entries must cost: loads that depend on each other, one
// locked instruction per entry.
#include <time.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <thread>

#include "bench/common/arguments.hpp"
#include "bench/common/bare_table.hpp"
#include "bench/common/cpu_time.hpp"
#include "bench/common/table_subject.hpp"
#include "shadow-mmu/fault/fault_handler.hpp"
#include "shadow-mmu/flush/device_tlb.hpp"

namespace penumbra::bench {

namespace {

using mmu::FaultAccess;
using mmu::FaultOutcome;

constexpr unsigned rounds = 9;

/// The best of each side, in turns: what others do to the machine only ever adds.
struct Pair {
    double value = 1e30;
    double baseline = 1e30;
    CpuTime value_cpu;
    CpuTime baseline_cpu;
};

/// CPU time of all threads: when others have the processor, nobody is charged.
[[nodiscard]] double cpu_nanoseconds() {
    timespec now{};
    (void)::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

template <class Fn>
void timed(double& best, CpuTime& cpu, std::uint64_t units, Fn&& fn) {
    const CpuTime before = CpuTime::of_process();
    const double start = cpu_nanoseconds();
    fn();
    const double end = cpu_nanoseconds();
    cpu += CpuTime::of_process() - before;
    best = std::min(best, (end - start) / static_cast<double>(units));
}

class Bench {
public:
    explicit Bench(Report& report) : report_(report) {
        std::iota(order_.begin(), order_.end(), 0U);
        std::ranges::shuffle(order_, std::mt19937_64(1));
    }
    [[nodiscard]] Result<> run();

private:
    template <class Prepare, class Value, class Baseline>
    Pair compare(Prepare&& prepare, Value&& value, Baseline&& baseline) {
        Pair pair;
        for (unsigned round = 0; round < rounds; ++round) {
            prepare();
            if (round % 2 == 0) timed(pair.baseline, pair.baseline_cpu, mapped_pages, baseline);
            timed(pair.value, pair.value_cpu, mapped_pages, value);
            if (round % 2 != 0) timed(pair.baseline, pair.baseline_cpu, mapped_pages, baseline);
        }
        return pair;
    }
    void add(const std::string& name, const Pair& pair, double target, const std::string& what,
             const std::string& against) {
        report_.add(Row{name, pair.value, "ns each", pair.baseline, target, Better::lower});
        report_.add(Side{name + ": Penumbra", what, pair.value_cpu});
        report_.add(Side{name + ": bare", against, pair.baseline_cpu});
    }
    void lookup();
    void install_one();
    void report_overlapped(double fault);
    void populate();
    void populate_two();
    void zap();
    void bulk();
    void memory();
    void tlb_hit();

    Report& report_;
    std::vector<std::uint32_t> order_ = std::vector<std::uint32_t>(mapped_pages);
    std::optional<BareTable> bare_;
    std::optional<BareTable> other_;
    std::optional<TableSubject> subject_;
    std::uint64_t sink_ = 0;
};

void Bench::lookup() {
    subject_->link(order_);
    bare_->link(order_);
    const Pair pair = compare([] {},
                              [&] {
                                  std::uint64_t page = 0;
                                  for (std::uint64_t i = 0; i < mapped_pages; ++i) {
                                      const auto entry = subject_->table().lookup(first_frame + page);
                                      page = mmu::EptFormat::frame(entry.raw).value() - subject_->host().value();
                                  }
                                  sink_ += page;
                              },
                              [&] {
                                  std::uint64_t page = 0;
                                  for (std::uint64_t i = 0; i < mapped_pages; ++i) {
                                      page = bare_->chase(first_frame + page);
                                  }
                                  sink_ += page;
                              });
    add("lookup", pair, 1.25, "PageTable::lookup, one read-side section each; each leaf of 1 GiB names the next page",
        "four loads that depend on each other in a table of the same shape and order");
    subject_->unmap_all();
    bare_->clear();
}

void Bench::install_one() {
    bare_->link(order_);
    const auto prepare = [&] {
        subject_->unmap_all();
        other_->clear();
    };
    const Pair pair = compare(
        prepare,
        [&] {
            for (const std::uint32_t page : order_) {
                const auto outcome =
                    mmu::handle_fault(*subject_, subject_->source(), first_frame + page, FaultAccess::write);
                PENUMBRA_ASSERT(outcome.has_value() && *outcome == FaultOutcome::installed, "a fault failed");
            }
        },
        [&] {
            std::uint64_t page = 0;
            for (std::uint64_t i = 0; i < mapped_pages; ++i) {
                page = bare_->chase(first_frame + page);
                other_->swap_in(page);
            }
        });
    add("install_one", pair, 2.0, "handle_fault with a source that has every page, random order",
        "the chase of `lookup`, and one compare-and-swap for each page it names");
    report_overlapped(pair.value);
}

/// For information: the same against walks whose order is known beforehand, which a processor overlaps with each other;
/// and the random-order half of a fault, claim and publish, against a flat array in the same order.
void Bench::report_overlapped(double fault) {
    Pair walk;
    Pair claim;
    for (unsigned round = 0; round < rounds; ++round) {
        bare_->clear();
        timed(walk.baseline, walk.baseline_cpu, mapped_pages, [&] {
            for (const std::uint32_t page : order_) bare_->install(first_frame + page);
        });
        subject_->unmap_all();
        timed(claim.value, claim.value_cpu, mapped_pages, [&] { subject_->claim_each(order_); });
        bare_->clear();
        timed(claim.baseline, claim.baseline_cpu, mapped_pages, [&] {
            for (const std::uint32_t page : order_) bare_->swap_in(page);
        });
    }
    report_.add(Row{"install_one_overlapped", fault, "ns each", walk.baseline, std::nullopt});
    report_.add(Row{"claim_publish_random", claim.value, "ns each", claim.baseline, std::nullopt});
    bare_->clear();
}

void Bench::populate() {
    const auto prepare = [&] {
        subject_->unmap_all();
        bare_->clear();
    };
    const Pair pair = compare(
        prepare, [&] { subject_->populate(0, mapped_pages); },
        [&] {
            for (std::uint64_t page = 0; page < mapped_pages; ++page) bare_->swap_in(page);
        });
    add("populate", pair, 1.5, "populate(): claim, fill, publish 262,144 entries by runs of 64",
        "one compare-and-swap each on a flat array of the same size");
}

void Bench::populate_two() {
    constexpr std::uint64_t half = mapped_pages / 2;
    double one = 1e30;
    double two = 1e30;
    CpuTime one_cpu;
    CpuTime two_cpu;
    for (unsigned round = 0; round < rounds; ++round) {
        subject_->unmap_all();
        timed(one, one_cpu, mapped_pages, [&] { subject_->populate(0, mapped_pages); });
        subject_->unmap_all();
        timed(two, two_cpu, half, [&] {
            std::jthread other([&] { subject_->populate(half, half); });
            subject_->populate(0, half);
        });
    }
    // `two` is what both spend for one entry each. With a processor each they finish two in half of that.
    report_.add(Row{"populate_2t", 2 / (two / 2), "entries/ns", 1 / one, 1.7, Better::higher});
    report_.add(Side{"populate_2t: two threads", "as populate, half each, by the CPU time that both take", two_cpu});
    report_.add(Side{"populate_2t: one thread", "as populate", one_cpu});
}

void Bench::zap() {
    const auto prepare = [&] {
        subject_->map_all();
        bare_->fill();
    };
    const Pair pair = compare(
        prepare, [&] { sink_ += subject_->zap(mmu::TablePages::keep); },
        [&] {
            for (std::uint64_t page = 0; page < mapped_pages; ++page) {
                sink_ += bare_->swap_out(page);
            }
        });
    add("zap", pair, 1.5, "Zapper over 1 GiB: freeze, flush, clear; table pages stay",
        "one exchange per entry, in order");
    Pair reclaim;
    for (unsigned round = 0; round < rounds; ++round) {
        prepare();
        timed(reclaim.value, reclaim.value_cpu, mapped_pages,
              [&] { sink_ += subject_->zap(mmu::TablePages::reclaim); });
    }
    report_.add(Row{"zap_reclaim", reclaim.value, "ns each", pair.baseline, std::nullopt});
    subject_->unmap_all();
    bare_->clear();
}

void Bench::bulk() {
    const auto value = [&] {
        subject_->map_all();
        subject_->unmap_all();
    };
    const auto baseline = [&] {
        bare_->store_all();
        bare_->erase_all();
    };
    subject_->unmap_all();
    const Pair pair = compare([] {}, value, baseline);
    add("bulk", pair, 2.0, "map_alone and zap_alone of 1 GiB",
        "a loop of plain stores, then one that looks and stores");
}

void Bench::memory() {
    subject_->map_all();
    const std::uint64_t least = mapped_pages / entries_per_node + 3;
    const std::uint64_t beside = sizeof(TableSubject) + subject_->beside_bytes();
    report_.add(Row{"memory", static_cast<double>((subject_->table().table_pages() << page_shift) + beside), "bytes",
                    static_cast<double>(least << page_shift), 1.02, Better::lower});
    subject_->unmap_all();
}

void Bench::tlb_hit() {
    mmu::DeviceTlb tlb;
    constexpr std::uint64_t cached = 256;
    std::array<std::atomic<std::uint64_t>, cached> bare{};
    for (std::uint64_t i = 0; i < cached; ++i) {
        tlb.fill(Gfn{i}, Hvp{i + 7}, [] { return true; });
        bare[i].store(i + 1);
    }
    const Pair pair = compare([] {},
                              [&] {
                                  for (const std::uint32_t page : order_) {
                                      const auto hit = tlb.lookup(Gfn{page % cached});
                                      sink_ += hit ? hit->value() : 0;
                                  }
                              },
                              [&] {
                                  for (const std::uint32_t page : order_) {
                                      const std::uint64_t tag = bare[page % cached].load(std::memory_order_relaxed);
                                      sink_ += tag == page % cached + 1 ? 1U : 0U;
                                  }
                              });
    add("tlb_hit", pair, 3.0, "DeviceTlb::lookup, all hits", "one load that hits L1 and a compare");
}

Result<> Bench::run() {
    PENUMBRA_TRY_ASSIGN(BareTable bare, BareTable::create());
    bare_.emplace(std::move(bare));
    PENUMBRA_TRY_ASSIGN(BareTable other, BareTable::create());
    other_.emplace(std::move(other));
    PENUMBRA_TRY(TableSubject::create(subject_));
    lookup();
    install_one();
    populate();
    populate_two();
    zap();
    bulk();
    memory();
    tlb_hit();
    report_.note("CPU time of all threads; the best of nine rounds of each side, in turns. checksum " +
                 std::to_string(sink_ % 10));
    return {};
}

}  // namespace

}  // namespace penumbra::bench

int main(int count, char** arguments) {
    using namespace penumbra::bench;
    const auto output = parse_arguments(count, arguments);
    if (!output) return 2;
    Report report("tables", {"lookup", "install_one", "populate", "populate_2t", "zap", "bulk", "memory", "tlb_hit"});
    Bench bench(report);
    const penumbra::Result<> outcome = bench.run();
    return report.finish(*output, outcome);
}
