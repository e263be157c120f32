#include "bench/common/table_surroundings.hpp"

#include <array>
#include <atomic>

#include "bench/common/compare.hpp"
#include "bench/common/crowded_bridge.hpp"
#include "shadow-mmu/flush/device_tlb.hpp"

namespace penumbra::bench {

void report_tlb_hit(Report& report, std::span<const std::uint32_t> order, std::uint64_t& sink) {
    mmu::DeviceTlb tlb;
    constexpr std::uint64_t cached = 256;
    std::array<std::atomic<std::uint64_t>, cached> bare{};
    for (std::uint64_t i = 0; i < cached; ++i) {
        tlb.fill(Gfn{i}, Hvp{i + 7}, [] { return true; });
        bare[i].store(i + 1);
    }
    const Pair pair = compare(
        order.size(), [] {},
        [&] {
            for (const std::uint32_t page : order) {
                const auto hit = tlb.lookup(Gfn{page % cached});
                sink += hit ? hit->value() : 0;
            }
        },
        [&] {
            for (const std::uint32_t page : order) {
                const std::uint64_t tag = bare[page % cached].load(std::memory_order_relaxed);
                sink += tag == page % cached + 1 ? 1U : 0U;
            }
        });
    add_pair(report, "tlb_hit", pair, 3.0, {"DeviceTlb::lookup, all hits", "one load that hits L1 and a compare"});
}

void report_invalidate(Report& report) {
    constexpr std::uint64_t events = 2'000;
    CrowdedBridge few(100);
    CrowdedBridge many(100'000);
    const Pair pair = compare(
        events * CrowdedBridge::event_pages, [] {}, [&] { many.invalidate(events); }, [&] { few.invalidate(events); });
    add_pair(report, "invalidate_100k", pair, 2.0,
             {"start and end of events over 64 scattered pages, beside 100,000 subscriptions to others, per page",
              "the same beside 100 subscriptions"});
}

}  // namespace penumbra::bench
