#include "bench/common/fault_rounds.hpp"

#include <algorithm>
#include <numeric>

#include "base/assert.hpp"
#include "bench/common/ticks.hpp"

namespace penumbra::bench {

FaultRounds::FaultRounds(std::span<const std::unique_ptr<Backing>> backings, const RoundsPlan& plan,
                         const DecompressionProbe& probe)
    : backings_(backings), plan_(plan), probe_(probe), random_(plan.seed), samples_(backings.size()) {
    PENUMBRA_ASSERT(plan.population >= backings.size() * plan.per_round, "too few pages to draw from");
}

Result<> FaultRounds::begin_round() {
    std::vector<std::uint32_t> pages(plan_.population);
    std::iota(pages.begin(), pages.end(), 0U);
    std::ranges::shuffle(pages, random_);
    orders_.clear();
    at_ = 0;
    for (std::uint32_t b = 0; b < backings_.size(); ++b) {
        const std::span<std::uint32_t> some{pages.data() + std::size_t{b} * plan_.per_round, plan_.per_round};
        probe_.measure(some, decompression_);
        for (const std::uint32_t page : some) orders_.push_back({b, page});
        std::ranges::sort(some);
        PENUMBRA_TRY(backings_[b]->prepare(some));
    }
    std::ranges::shuffle(orders_, random_);
    return {};
}

std::optional<FaultRounds::Order> FaultRounds::next_order() {
    if (at_ == orders_.size()) {
        if (!outcome_ || round_ == plan_.rounds + 1) return std::nullopt;
        ++round_;
        outcome_ = begin_round();
        if (!outcome_) return std::nullopt;
    }
    const Planned& order = orders_[at_];
    Backing& backing = *backings_[order.backing];
    const auto kind = random_() % 2 == 0 ? abi::TouchKind::read : abi::TouchKind::write;
    backing.arm();
    start_ = CpuTime::of_process();
    return Order{&backing, order.page, kind};
}

void FaultRounds::record(std::uint64_t ticks) {
    const CpuTime spent = CpuTime::of_process() - start_;
    Samples& samples = samples_[orders_[at_++].backing];
    if (round_ == 1) return;
    samples.ticks.push_back(ticks);
    samples.cpu += spent;
}

Result<> FaultRounds::touch_from_host() {
    ThreadRegister::Entry* self = ThreadRegister::self();
    PENUMBRA_ASSERT(self != nullptr, "only a registered thread may stand in for a vCPU");
    while (const std::optional<Order> order = next_order()) {
        auto* word = reinterpret_cast<volatile std::uint64_t*>(pointer_to(order->backing->host(order->page)));
        const InGuestScope in_guest(*self);
        const std::uint64_t start = ticks_now();
        if (order->kind == abi::TouchKind::write) {
            *word = start;
        } else {
            (void)*word;
        }
        record(ticks_now() - start);
    }
    return outcome_;
}

std::optional<vmm::TouchSource::Touch> FaultRounds::next(std::uint32_t) {
    const std::optional<Order> order = next_order();
    if (!order) return std::nullopt;
    return Touch{order->backing->guest(order->page), order->kind};
}

void FaultRounds::touched(std::uint32_t, std::uint64_t ticks) { record(ticks); }

}  // namespace penumbra::bench
