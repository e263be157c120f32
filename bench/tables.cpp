// What the tables cost above what any radix table of atomic entries must cost: loads that depend on each other, one
// locked instruction per entry.
#include <algorithm>
#include <numeric>
#include <random>
#include <thread>

#include "bench/common/arguments.hpp"
#include "bench/common/bare_table.hpp"
#include "bench/common/compare.hpp"
#include "bench/common/table_subject.hpp"
#include "bench/common/table_surroundings.hpp"
#include "shadow-mmu/fault/fault_handler.hpp"

namespace penumbra::bench {

namespace {

constexpr std::uint64_t region_pages = pages_spanned(Level::page_2m);

using mmu::FaultAccess;
using mmu::FaultOutcome;

class Bench {
public:
    explicit Bench(Report& report) : report_(report) {
        std::iota(order_.begin(), order_.end(), 0U);
        std::ranges::shuffle(order_, std::mt19937_64(1));
        for (std::size_t i = 0; i < order_.size(); ++i) next_[order_[i]] = order_[(i + 1) % order_.size()];
        std::iota(regions_.begin(), regions_.end(), 0U);
        std::ranges::shuffle(regions_, std::mt19937_64(2));
    }
    [[nodiscard]] Result<> run();

private:
    void add(const std::string& name, const Pair& pair, double target, const std::string& what,
             const std::string& against) {
        add_pair(report_, name, pair, target, {what, against});
    }
    /// Calls fn(first page) for each 2 MiB, in random order.
    template <class Fn>
    void for_each_region(Fn&& fn) {
        for (const std::uint32_t region : regions_) fn(region * region_pages);
    }
    void lookup();
    void install_one();
    void report_overlapped(double fault);
    void populate();
    void populate_two();
    void zap();
    void bulk();
    void memory();

    Report& report_;
    std::vector<std::uint32_t> order_ = std::vector<std::uint32_t>(mapped_pages);
    std::vector<std::uint32_t> next_ = std::vector<std::uint32_t>(mapped_pages);  // each page's successor in order_
    std::vector<std::uint32_t> regions_ = std::vector<std::uint32_t>(mapped_pages / region_pages);
    std::optional<BareTable> bare_;
    std::optional<BareTable> other_;
    std::optional<TableSubject> subject_;
    std::uint64_t sink_ = 0;
};

void Bench::lookup() {
    subject_->link(order_);
    bare_->link(order_);
    const Pair pair = compare(
        mapped_pages, [] {},
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
        mapped_pages, prepare,
        [&] {
            std::uint32_t page = 0;
            for (std::uint64_t i = 0; i < mapped_pages; ++i) {
                const auto outcome =
                    mmu::handle_fault(*subject_, subject_->source(), first_frame + page, FaultAccess::write);
                PENUMBRA_ASSERT(outcome.has_value() && *outcome == FaultOutcome::installed, "a fault failed");
                page = next_[page];
            }
        },
        [&] {
            std::uint64_t page = 0;
            for (std::uint64_t i = 0; i < mapped_pages; ++i) {
                page = bare_->chase(first_frame + page);
                other_->swap_in(page);
            }
        });
    add("install_one", pair, 2.0,
        "handle_fault with a source that has every page, random order, each page told by the one before",
        "the chase of `lookup`, and one compare-and-swap for each page it names");
    report_overlapped(pair.value);
}

/// For information: the same against walks whose order is known beforehand, which a processor overlaps with each other;
/// and the random-order half of a fault, claim and publish, against a flat array in the same order.
void Bench::report_overlapped(double fault) {
    Pair walk;
    Pair claim;
    for (unsigned round = 0; round < compare_rounds; ++round) {
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
        mapped_pages, prepare,
        [&] { for_each_region([&](std::uint64_t first) { subject_->populate(first, region_pages); }); },
        [&] {
            for_each_region([&](std::uint64_t first) {
                for (std::uint64_t page = first; page < first + region_pages; ++page) bare_->swap_in(page);
            });
        });
    add("populate", pair, 1.5,
        "populate(): claim, fill, publish 262,144 entries by runs of 64; ranges of 2 MiB in random order",
        "one compare-and-swap each on a flat array of the same size, in the same order");
}

void Bench::populate_two() {
    constexpr std::uint64_t half = mapped_pages / 2;
    double one = 1e30;
    double two = 1e30;
    CpuTime one_cpu;
    CpuTime two_cpu;
    for (unsigned round = 0; round < compare_rounds; ++round) {
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
        mapped_pages, prepare, [&] { sink_ += subject_->zap(0, mapped_pages, mmu::TablePages::keep); },
        [&] {
            for (std::uint64_t page = 0; page < mapped_pages; ++page) sink_ += bare_->swap_out(page);
        });
    add("zap", pair, 1.5, "Zapper over 1 GiB: freeze, flush, clear; table pages stay",
        "one exchange per entry, in order");
    Pair pieces;
    Pair reclaim;
    for (unsigned round = 0; round < compare_rounds; ++round) {
        prepare();
        timed(pieces.value, pieces.value_cpu, mapped_pages, [&] {
            for_each_region(
                [&](std::uint64_t first) { sink_ += subject_->zap(first, region_pages, mmu::TablePages::keep); });
        });
        timed(pieces.baseline, pieces.baseline_cpu, mapped_pages, [&] {
            for_each_region([&](std::uint64_t first) {
                for (std::uint64_t page = first; page < first + region_pages; ++page) sink_ += bare_->swap_out(page);
            });
        });
        prepare();
        timed(reclaim.value, reclaim.value_cpu, mapped_pages,
              [&] { sink_ += subject_->zap(0, mapped_pages, mmu::TablePages::reclaim); });
    }
    report_.add(Row{"zap_2m_random", pieces.value, "ns each", pieces.baseline, std::nullopt});
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
    const Pair pair = compare(mapped_pages, [] {}, value, baseline);
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
    report_tlb_hit(report_, order_, sink_);
    report_invalidate(report_);
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
    Report report("tables", {"lookup", "install_one", "populate", "populate_2t", "zap", "bulk", "memory", "tlb_hit",
                             "invalidate_100k"});
    Bench bench(report);
    const penumbra::Result<> outcome = bench.run();
    return report.finish(*output, outcome);
}
