// The host's side: who takes pages, moves them between tiers, and comes and goes.
#include <algorithm>

#include "base/planted.hpp"
#include "notifier-bridge/source/memory_ops.hpp"
#include "tests/sim/actors.hpp"

namespace penumbra::test::sim {

std::vector<Hvp> Player::pages_of(const Action& action) const {
    std::vector<Hvp> pages;
    for (std::uint32_t i = 0; i < action.pages; ++i) {
        const std::uint32_t step = action.linger % 2 == 0 ? i : i * action.spread;
        pages.push_back(world_.model.host_page(page_of(action.page + step)));
    }
    std::ranges::sort(pages);
    const auto rest = std::ranges::unique(pages);
    pages.erase(rest.begin(), rest.end());
    return pages;
}

void Player::evict(const Action& action, bridge::Blockable blockable) {
    const std::vector<Hvp> pages = pages_of(action);
    (void)world_.reclaimer.evict_pages(pages, blockable);
}

void Player::discard(const Action& action) {
    bridge::RangeSet ranges;
    const std::vector<Hvp> pages = pages_of(action);
    for (const Hvp page : pages) ranges.add(HvpRange{page, 1});
    bridge::discard(world_.space, std::move(ranges), [&] {
        for (const Hvp page : pages) {
            const vmm::PageIndex index = world_.state->index_of(page);
            world_.model.forgetting(static_cast<std::uint32_t>(index));
            world_.state->forget(index);
            world_.model.forgotten(static_cast<std::uint32_t>(index));
        }
    });
}

void Player::pack(const Action& action) {
    if (action.op == Op::kick) return world_.reclaimer.kick();
    if (action.op == Op::want_slots) {
        (void)world_.reclaimer.wait_for_slots(action.pages);
        return;
    }
    (void)world_.reclaimer.pack(action.pages, vmm::Reclaimer::PackTarget::memory_only);
}

void Player::come_and_go(const Action& action) {
    mmu::DeviceTlb tlb;
    mmu::DeviceTable table("guest device", World::slots_of(world_.plan), World::arena(), tlb);
    const bridge::Subscription subscription = world_.space.subscribe(table);
    for (std::uint32_t i = 0; i < action.pages; ++i) use_device(table, action, page_of(action.page + i));
}

void Player::sabotage(const Action& action) {
#if defined(PENUMBRA_TEST_SWITCHES)
    plant(action.linger % 2 == 0 ? Plant::full_disk : Plant::short_read, 1 + action.pages % 3);
#endif
}

}  // namespace penumbra::test::sim
