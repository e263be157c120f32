// A guest's memory for shadow table tests: page tables in a few pages that a test reads and writes as the guest does,
// a window that pages leave and come back to, watches as write protection would make them, and a TLB without a size.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "base/mutex.hpp"
#include "notifier-bridge/subscriber.hpp"
#include "shadow-mmu/shadow/shadow_table.hpp"

namespace penumbra::test {

/// RAM: 64 pages with content, and 512 pages (2 MiB, aligned) of zeros, apart in the host. Thread-safe.
class ShadowMemory final : public mmu::GuestMemory, public mmu::WatchPort, public bridge::Subscriber {
public:
    static constexpr std::uint64_t small_pages = 64;
    static constexpr Gfn large_area{512};
    [[nodiscard]] static mmu::Memslots memslots() {
        return mmu::Memslots{{{{Gfn{0}, small_pages}, Hvp{0x10'0000}}, {{large_area, 512}, Hvp{0x20'0000}}}};
    }
    [[nodiscard]] static Gpa at(std::uint64_t page, std::uint64_t index) { return Gpa{page * page_bytes + index * 8}; }
    /// Number of a page of RAM, for the arrays below.
    [[nodiscard]] static std::size_t number_of(Gfn gfn) {
        return gfn < Gfn{small_pages} ? gfn.value() : small_pages + (gfn - large_area);
    }

    // ---- what tests set ----
    mmu::OwnWrites own = mmu::OwnWrites::break_watch;
    std::set<Gfn> refuse;                                  ///< pages that cannot be watched
    std::function<void()> on_present;                      ///< after a page was found there
    std::function<void()> on_read;                         ///< after an entry was read
    std::function<void()> on_watch;                        ///< before tables are protected
    std::function<void(std::span<const Gfn>)> on_unwatch;  ///< after they are not any more

    // ---- GuestMemory ----
    [[nodiscard]] std::expected<std::uint64_t, mmu::EntryProblem> read(Gpa entry) override;
    [[nodiscard]] mmu::EntryExchange compare_exchange(Gpa entry, std::uint64_t expected,
                                                      std::uint64_t desired) override;
    [[nodiscard]] bool present(Gfn gfn) override;

    // ---- WatchPort ----
    void watch(std::span<mmu::WatchRequest> pages) override;
    void unwatch(std::span<const Gfn> pages) override;
    [[nodiscard]] mmu::OwnWrites own_writes() const override { return own; }

    // ---- Subscriber: the window, which forgets the watch of a page that leaves ----
    [[nodiscard]] std::string_view name() const override { return "window"; }
    [[nodiscard]] bridge::SubscriberOrder order() const override { return bridge::SubscriberOrder::ept; }
    [[nodiscard]] bridge::StartResult invalidate_start(const bridge::InvalidationEvent& event) override;
    void invalidate_end(const bridge::InvalidationEvent&) override {}
    void release() override {}

    /// A value that an entry had, and when it was overwritten: stores are counted from 1.
    struct Overwritten {
        std::uint64_t value;
        std::uint64_t at;
    };
    bool keeps_history = false;
    [[nodiscard]] std::vector<Overwritten> history_of(Gpa entry) const;
    [[nodiscard]] std::uint64_t stores() const { return stores_.load(); }

    // ---- the guest and the device ----
    /// One attempt of a store by a guest's processor: false where the page is protected.
    [[nodiscard]] bool try_store(Gpa entry, std::uint64_t value);
    [[nodiscard]] std::uint64_t word(Gpa entry) const;
    void put_in(Gfn gfn) { is_in(gfn).store(true); }
    [[nodiscard]] bool is_protected(Gfn gfn) const;
    [[nodiscard]] std::size_t protected_pages() const;
    /// Exchanges of the table's own in protected pages, where none may be: a process would have faulted on its window.
    [[nodiscard]] std::uint64_t stale_writes() const { return stale_writes_.get(); }
    /// A store by the device, through its translation: no fault tells of it.
    void device_store(Gpa entry, std::uint64_t value);
    [[nodiscard]] bool holds(Gfn gfn) const { return present_[number_of(gfn)].load(); }
    [[nodiscard]] std::uint64_t watch_calls() const { return watch_calls_.get(); }

private:
    void overwrite(Gpa entry, std::uint64_t value) REQUIRES(mutex_);
    [[nodiscard]] std::atomic<bool>& is_in(Gfn gfn) { return present_[number_of(gfn)]; }
    [[nodiscard]] static bool is_ram(Gfn gfn) {
        return gfn < Gfn{small_pages} || (gfn >= large_area && gfn < large_area + 512);
    }

    std::array<std::atomic<std::uint64_t>, small_pages * 512> words_{};
    std::array<std::atomic<bool>, small_pages + 512> present_{};
    mutable Mutex mutex_{LockRank::hold};
    std::set<Gfn> protected_ GUARDED_BY(mutex_);
    std::map<Gpa, std::vector<Overwritten>> history_ GUARDED_BY(mutex_);
    std::atomic<std::uint64_t> stores_{0};
    Counter stale_writes_;
    Counter watch_calls_;
};

/// Keeps everything until it is flushed. Thread-safe.
class ModelledContextTlb final : public mmu::ContextTlb {
public:
    using Key = std::pair<mmu::ContextId, mmu::Gvp>;
    std::function<void()> on_flush;  ///< after a flush

    [[nodiscard]] std::optional<mmu::CachedTranslation> lookup(mmu::ContextId context, mmu::Gvp page) const override;
    void fill(mmu::ContextId context, mmu::Gvp page, mmu::CachedTranslation translation) override;
    void flush(std::span<const mmu::ContextRun> runs) override;
    void flush_all() override;
    [[nodiscard]] std::map<Key, mmu::CachedTranslation> snapshot() const;
    [[nodiscard]] std::uint64_t full_flushes() const { return full_flushes_.get(); }

private:
    mutable Mutex mutex_{LockRank::hold};
    std::map<Key, mmu::CachedTranslation> entries_ GUARDED_BY(mutex_);
    Counter full_flushes_;
};

}  // namespace penumbra::test
