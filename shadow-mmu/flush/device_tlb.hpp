// A TLB of one device engine: a direct-mapped array for each size of leaf. Only its engine looks up and fills; any
// thread may flush.
//
// Fill against flush: the engine writes the translation and then looks at the table's entry again; the invalidator zaps
// the entry and then flushes. Either the engine sees the zap and takes its fill back, or the flush comes after the
// fill. So what the engine looks for is the very leaf that it read, at its size: a large leaf that was split meanwhile
// translates as before, but the zap of one of its pages may have flushed already.
//
// A flush of any page drops what is cached of it in every size. A split flushes nothing, so a large translation may
// outlive its leaf for as long as all its pages stay; the zap of the first of them drops it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>

#include "base/assert.hpp"
#include "base/counters.hpp"
#include "base/page_size.hpp"
#include "base/planted.hpp"
#include "base/schedule_point.hpp"
#include "shadow-mmu/flush/tlb.hpp"
#include "shadow-mmu/format/entry_state.hpp"

namespace penumbra::mmu {

class DeviceTlb final : public Tlb {
public:
    /// One cached leaf: consecutive guest pages on consecutive host pages, and the most that it permits.
    struct Translation {
        GfnRange pages;
        Hvp first;
        Touch most = Touch::write;
    };

    [[nodiscard]] std::optional<Hvp> lookup(Gfn gfn, Touch touch = Touch::read) const {
        std::uint64_t found = small_.find(gfn, touch);
        if (found == nothing && holds_large_.load(std::memory_order_seq_cst)) {
            found = medium_.find(gfn, touch);
            if (found == nothing) found = huge_.find(gfn, touch);
        }
        if (found == nothing) return std::nullopt;
        return Hvp{found};
    }
    /// Caches a translation of 4 KiB, 2 MiB or 1 GiB, aligned on both sides; `still_there` is asked after the write,
    /// and false takes it back.
    template <class StillThere>
    void fill(const Translation& made, StillThere&& still_there) {
        fills_.add();
        if (made.pages.pages() == 1) return small_.fill(made, still_there);
        // Before the fill: who flushes and does not see this has zapped before the engine looks again.
        holds_large_.store(true, std::memory_order_seq_cst);
        if (made.pages.pages() == pages_spanned(Level::page_2m)) return medium_.fill(made, still_there);
        PENUMBRA_ASSERT(made.pages.pages() == pages_spanned(Level::page_1g), "a translation of no leaf's size");
        huge_.fill(made, still_there);
    }
    template <class StillThere>
    void fill(Gfn gfn, Hvp page, StillThere&& still_there) {
        fill(Translation{GfnRange{gfn, 1}, page}, still_there);
    }

    void flush(std::span<const GfnRange> ranges) override {
        if (planted(Plant::skip_device_flush)) return;
        flushes_.add();
        const bool large = holds_large_.load(std::memory_order_seq_cst);
        for (const GfnRange& range : ranges) {
            if (range.empty()) continue;
            small_.flush(range);
            if (!large) continue;
            medium_.flush(range);
            huge_.flush(range);
        }
    }
    void flush_all() override {
        if (planted(Plant::skip_device_flush)) return;
        flushes_.add();
        small_.clear();
        medium_.clear();
        huge_.clear();
    }

    [[nodiscard]] std::uint64_t flushes() const { return flushes_.get(); }
    /// Translations put in: misses that found a leaf.
    [[nodiscard]] std::uint64_t fills() const { return fills_.get(); }
    /// Calls fn(Translation) for all that is cached. While the engine is idle.
    template <class Fn>
    void for_each(Fn&& fn) const {
        small_.for_each(fn);
        medium_.for_each(fn);
        huge_.for_each(fn);
    }

private:
    /// No page's number. A plain word goes through the arrays: an optional would go through memory.
    static constexpr std::uint64_t nothing = ~std::uint64_t{0};

    template <Level level, std::size_t size>
    class Array {
    public:
        [[nodiscard]] std::uint64_t find(Gfn gfn, Touch touch) const {
            const Entry& entry = entry_of(number_of(gfn));
            schedule_point(Step::entry_read, &entry);
            if (entry.tag.load(std::memory_order_seq_cst) != number_of(gfn) + 1) return nothing;
            const std::uint64_t leaf = entry.leaf.load(std::memory_order_relaxed);
            if (touch == Touch::write && (leaf & writable) == 0) return nothing;
            return (leaf >> 1) + gfn.value() % span;
        }
        template <class StillThere>
        void fill(const Translation& made, StillThere&& still_there) {
            Entry& entry = entry_of(number_of(made.pages.first()));
            schedule_point(Step::entry_write, &entry);
            entry.tag.store(0, std::memory_order_seq_cst);
            entry.leaf.store(made.first.value() << 1 | (made.most == Touch::write ? writable : 0),
                             std::memory_order_relaxed);
            entry.tag.store(number_of(made.pages.first()) + 1, std::memory_order_seq_cst);
            if (!planted(Plant::fill_tlb_unchecked) && !still_there()) entry.tag.store(0, std::memory_order_seq_cst);
        }
        void flush(GfnRange range) {
            const std::uint64_t first = number_of(range.first());
            const std::uint64_t last = number_of(range.first() + (range.pages() - 1));
            if (last - first >= size - 1) return clear();
            for (std::uint64_t number = first; number <= last; ++number) {
                std::uint64_t tag = number + 1;
                schedule_point(Step::entry_write, &entry_of(number));
                entry_of(number).tag.compare_exchange_strong(tag, 0, std::memory_order_seq_cst);
            }
        }
        void clear() {
            for (Entry& entry : entries_) entry.tag.store(0, std::memory_order_seq_cst);
        }
        template <class Fn>
        void for_each(Fn&& fn) const {
            for (const Entry& entry : entries_) {
                const std::uint64_t tag = entry.tag.load(std::memory_order_seq_cst);
                if (tag == 0) continue;
                const std::uint64_t leaf = entry.leaf.load(std::memory_order_relaxed);
                fn(Translation{GfnRange{Gfn{(tag - 1) * span}, span}, Hvp{leaf >> 1},
                               (leaf & writable) != 0 ? Touch::write : Touch::read});
            }
        }

    private:
        static constexpr std::uint64_t span = pages_spanned(level);
        static constexpr std::uint64_t writable = 1;
        struct Entry {
            std::atomic<std::uint64_t> tag{0};   // number + 1; 0: invalid
            std::atomic<std::uint64_t> leaf{0};  // first host page, shifted by one, and `writable`; the engine's
        };
        static std::uint64_t number_of(Gfn gfn) { return gfn.value() / span; }
        [[nodiscard]] Entry& entry_of(std::uint64_t number) { return entries_[number % size]; }
        [[nodiscard]] const Entry& entry_of(std::uint64_t number) const { return entries_[number % size]; }

        std::array<Entry, size> entries_{};
    };

    Array<Level::page_4k, 1024> small_;
    Array<Level::page_2m, 256> medium_;
    Array<Level::page_1g, 16> huge_;
    std::atomic<bool> holds_large_{false};  // ever
    Counter fills_;
    Counter flushes_;
};

}  // namespace penumbra::mmu
