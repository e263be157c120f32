// Entry memory that remembers every value each entry ever had, in order.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/mutex.hpp"

namespace penumbra::test {

/// Thread-safe. A slot is 8 bytes, so the histories lie beside the table; only one table at a time may use it, inside a
/// HistoryScope.
class HistoryMemory {
public:
    using Slot = std::atomic<std::uint64_t>;
    struct Change {
        Slot* slot;
        std::uint64_t from;
        std::uint64_t to;
    };

    [[nodiscard]] static std::uint64_t load(const Slot& slot) { return slot.load(std::memory_order_seq_cst); }
    [[nodiscard]] static bool compare_exchange(Slot& slot, std::uint64_t expected, std::uint64_t desired) {
        {
            const MutexLock lock(mutex_);  // so that the record has the order of the changes
            if (!slot.compare_exchange_strong(expected, desired, std::memory_order_seq_cst)) return false;
            changes_.push_back({&slot, expected, desired});
        }
        if (observer_) observer_();
        return true;
    }
    [[nodiscard]] static std::uint64_t load_ordered(const Slot& slot) { return load(slot); }
    static void store(Slot& slot, std::uint64_t from, std::uint64_t to) {
        {
            const MutexLock lock(mutex_);
            slot.store(to, std::memory_order_seq_cst);
            changes_.push_back({&slot, from, to});
        }
        if (observer_) observer_();
    }
    static void reset(Slot& slot) {
        const std::uint64_t from = load(slot);
        if (from != 0) store(slot, from, 0);
    }
    static void wait(const Slot& slot, std::uint64_t value) { slot.wait(value, std::memory_order_seq_cst); }
    [[nodiscard]] static bool may_sleep() { return true; }
    static void wake(Slot& slot) { slot.notify_all(); }

    /// Called after every change, by the thread that made it: sees every intermediate state. Set while nobody writes.
    static void observe(std::function<void()> observer) { observer_ = std::move(observer); }

    /// The changes of all entries, in order, without the first `skip`.
    [[nodiscard]] static std::vector<Change> changes(std::size_t skip = 0) {
        const MutexLock lock(mutex_);
        return {changes_.begin() + static_cast<std::ptrdiff_t>(skip), changes_.end()};
    }
    [[nodiscard]] static std::size_t count() {
        const MutexLock lock(mutex_);
        return changes_.size();
    }
    /// The values one entry had, the first (0) included.
    [[nodiscard]] static std::vector<std::uint64_t> values_of(const Slot& slot) {
        std::vector<std::uint64_t> values{0};
        for (const Change& change : changes()) {
            if (change.slot == &slot) values.push_back(change.to);
        }
        return values;
    }
    /// False when an entry changed behind the recorder's back: a change did not begin where the one before ended, or
    /// the entry does not hold what was last written.
    [[nodiscard]] static bool complete() {
        std::unordered_map<Slot*, std::uint64_t> last;
        for (const Change& change : changes()) {
            if (last[change.slot] != change.from) return false;
            last[change.slot] = change.to;
        }
        for (const auto& [slot, value] : last) {
            if (load(*slot) != value) return false;
        }
        return true;
    }

private:
    friend class HistoryScope;
    static void forget() {
        const MutexLock lock(mutex_);
        changes_.clear();
        observer_ = nullptr;
    }
    inline static Mutex mutex_{LockRank::leaf};
    inline static std::function<void()> observer_;
    inline static std::vector<Change> changes_ GUARDED_BY(mutex_);
};

static_assert(sizeof(HistoryMemory::Slot) == 8);

/// Begins and ends with no history.
class HistoryScope {
public:
    HistoryScope() { HistoryMemory::forget(); }
    ~HistoryScope() { HistoryMemory::forget(); }
    HistoryScope(const HistoryScope&) = delete;
    HistoryScope& operator=(const HistoryScope&) = delete;
};

}  // namespace penumbra::test
