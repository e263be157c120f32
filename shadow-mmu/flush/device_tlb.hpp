// A direct-mapped TLB of one device engine. Only its engine looks up and fills; any thread may flush.
//
// Fill against flush: the engine writes the translation and then looks at the table's entry again; the invalidator zaps
// the entry and then flushes. Either the engine sees the zap and takes its fill back, or the flush comes after the
// fill.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>

#include "base/counters.hpp"
#include "base/planted.hpp"
#include "base/schedule_point.hpp"
#include "shadow-mmu/flush/tlb.hpp"

namespace penumbra::mmu {

class DeviceTlb final : public Tlb {
public:
    [[nodiscard]] std::optional<Hvp> lookup(Gfn gfn) const {
        const Entry& entry = entries_[index_of(gfn)];
        schedule_point(Step::entry_read, &entry);
        if (entry.tag.load(std::memory_order_seq_cst) != gfn.value() + 1) return std::nullopt;
        return Hvp{entry.page.load(std::memory_order_relaxed)};
    }
    /// Caches a translation; `still_present` is asked after the write and false takes it back.
    template <class StillPresent>
    void fill(Gfn gfn, Hvp page, StillPresent&& still_present) {
        Entry& entry = entries_[index_of(gfn)];
        schedule_point(Step::entry_write, &entry);
        entry.tag.store(0, std::memory_order_seq_cst);
        entry.page.store(page.value(), std::memory_order_relaxed);
        entry.tag.store(gfn.value() + 1, std::memory_order_seq_cst);
        if (!planted(Plant::fill_tlb_unchecked) && !still_present()) entry.tag.store(0, std::memory_order_seq_cst);
    }

    void flush(std::span<const GfnRange> ranges) override {
        if (planted(Plant::skip_device_flush)) return;
        flushes_.add();
        for (const GfnRange& range : ranges) {
            if (range.pages() >= entries) return clear();
            for (Gfn gfn = range.first(); gfn < range.end(); ++gfn) {
                std::uint64_t tag = gfn.value() + 1;
                schedule_point(Step::entry_write, &entries_[index_of(gfn)]);
                entries_[index_of(gfn)].tag.compare_exchange_strong(tag, 0, std::memory_order_seq_cst);
            }
        }
    }
    void flush_all() override {
        if (planted(Plant::skip_device_flush)) return;
        flushes_.add();
        clear();
    }
    [[nodiscard]] std::uint64_t flushes() const { return flushes_.get(); }

private:
    static constexpr std::size_t entries = 1024;
    struct Entry {
        std::atomic<std::uint64_t> tag{0};  // gfn + 1; 0: invalid
        std::atomic<std::uint64_t> page{0};
    };

    static std::size_t index_of(Gfn gfn) { return gfn.value() % entries; }
    void clear() {
        for (Entry& entry : entries_) entry.tag.store(0, std::memory_order_seq_cst);
    }

    std::array<Entry, entries> entries_{};
    Counter flushes_;
};

}  // namespace penumbra::mmu
