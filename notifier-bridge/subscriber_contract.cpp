#include "notifier-bridge/subscriber_contract.hpp"

#include "base/assert.hpp"
#include "base/callback_scope.hpp"
#include "base/mutex.hpp"

namespace penumbra::bridge {

StartResult SubscriberContract::invalidate_start(const InvalidationEvent& event) {
    PENUMBRA_ASSERT(!in_bridge_callback(), "a callback started an invalidation");
    PENUMBRA_ASSERT(!released_.load(std::memory_order_acquire), "event after release");
    const unsigned rank = highest_rank_held();
    PENUMBRA_ASSERT(rank < static_cast<unsigned>(LockRank::bridge), "subscriber called under a bridge or table lock");
    open_.fetch_add(1, std::memory_order_acq_rel);
    StartResult result;
    {
        const CallbackScope scope;
        result = inner_.invalidate_start(event);
    }
    PENUMBRA_ASSERT(open_flush_duties() == 0, "start returned before its flush was committed");
    PENUMBRA_ASSERT(highest_rank_held() == rank, "start returned holding a lock");
    PENUMBRA_ASSERT(result == StartResult::done || event.blockable == Blockable::no, "a blockable start would_block");
    if (result == StartResult::would_block) open_.fetch_sub(1, std::memory_order_acq_rel);
    return result;
}

void SubscriberContract::invalidate_end(const InvalidationEvent& event) {
    PENUMBRA_ASSERT(!in_bridge_callback(), "a callback ended an invalidation");
    {
        const CallbackScope scope;
        inner_.invalidate_end(event);
    }
    const std::int64_t before = open_.fetch_sub(1, std::memory_order_acq_rel);
    PENUMBRA_ASSERT(before > 0, "end without a start");
}

void SubscriberContract::release() {
    PENUMBRA_ASSERT(!released_.exchange(true, std::memory_order_acq_rel), "released twice");
    const CallbackScope scope;
    inner_.release();
}

}  // namespace penumbra::bridge
