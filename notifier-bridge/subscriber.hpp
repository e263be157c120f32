// The contract between the bridge and whoever holds translations of guest memory.
#pragma once

#include <string_view>

#include "notifier-bridge/invalidation.hpp"

namespace penumbra::bridge {

/// Delivery order of start; end runs in reverse. No device access is in flight when the EPT subscriber empties the
/// window.
enum class SubscriberOrder : unsigned char { remote, device, shadow, ept };

enum class StartResult : unsigned char {
    done,
    would_block,  ///< only for non-blockable events; the subscriber has undone whatever it had begun
};

/// A holder of translations: a secondary MMU.
///
/// Threads: callbacks for different events may run at once on different threads, also for overlapping ranges. start and
/// end of one event run on one thread.
///
/// invalidate_start, on return of `done`, promises for every page of the event:
///   - no entry of this subscriber names it, and none will be established before the matching invalidate_end;
///   - every TLB that may have held it was flushed, and the flush was committed;
///   - no access through such an entry is still in flight.
/// An `observed` event asks for the same, late. `would_block` promises that nothing changed; no end follows it.
///
/// A callback may sleep if the event is blockable. It may not: fault on guest memory, subscribe or unsubscribe, start
/// an invalidation, or take a lock that it or anybody holds across one of these. (The kernel's rules: mm/mmu_notifier.c
/// and include/linux/mmu_notifier.h.) SubscriberContract checks what can be checked.
class Subscriber {
public:
    virtual ~Subscriber() = default;

    [[nodiscard]] virtual std::string_view name() const = 0;
    [[nodiscard]] virtual SubscriberOrder order() const = 0;
    [[nodiscard]] virtual StartResult invalidate_start(const InvalidationEvent& event) = 0;
    virtual void invalidate_end(const InvalidationEvent& event) = 0;
    /// The address space goes away: drop everything, establish nothing ever again. Called once.
    virtual void release() = 0;
};

}  // namespace penumbra::bridge
