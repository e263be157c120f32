// The least that a radix table of atomic entries can do: a walk without checks, one locked instruction per entry.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "base/mapped_region.hpp"
#include "base/page_size.hpp"

namespace penumbra::bench {

inline constexpr std::uint64_t mapped_pages = pages_spanned(Level::page_1g);
/// The gigabyte that is mapped; not the first, so that no index of a walk is always 0.
inline constexpr Gfn first_frame{5 * mapped_pages};

/// Four levels over one gigabyte of 4 KiB entries. Its leaves lie in one array, in order.
class BareTable {
public:
    using Slot = std::atomic<std::uint64_t>;

    [[nodiscard]] static Result<BareTable> create();

    /// Four loads, each from where the one before says.
    [[nodiscard]] std::uint64_t chase(Gfn gfn) const { return leaf(gfn).load(std::memory_order_acquire); }
    /// The walk, then one compare-and-swap.
    void install(Gfn gfn) {
        std::uint64_t empty = 0;
        leaf(gfn).compare_exchange_strong(empty, gfn.value() << page_shift, std::memory_order_seq_cst);
    }
    void swap_in(std::uint64_t page) {
        std::uint64_t empty = 0;
        leaves()[page].compare_exchange_strong(empty, (page + 1) << page_shift, std::memory_order_seq_cst);
    }
    std::uint64_t swap_out(std::uint64_t page) { return leaves()[page].exchange(0, std::memory_order_seq_cst); }
    void store_all();
    std::uint64_t erase_all();
    /// Each leaf names the page to look at next, once around all of them.
    void link(const std::vector<std::uint32_t>& order);
    void fill() { store_all(); }
    void clear() { (void)erase_all(); }

private:
    explicit BareTable(MappedRegion region) : region_(std::move(region)) {}
    [[nodiscard]] Slot* node(std::uint64_t number) const {
        return reinterpret_cast<Slot*>(region_.data() + (number << page_shift));
    }
    [[nodiscard]] Slot* leaves() const { return node(3); }
    [[nodiscard]] Slot& leaf(Gfn gfn) const {
        const Slot* at = node(0);
        for (unsigned shift = 3 * index_bits; shift > 0; shift -= index_bits) {
            const std::uint64_t next =
                at[(gfn.value() >> shift) & (entries_per_node - 1)].load(std::memory_order_acquire);
            at = reinterpret_cast<const Slot*>(next);  // NOLINT(performance-no-int-to-ptr)
        }
        return const_cast<Slot*>(at)[gfn.value() & (entries_per_node - 1)];
    }

    MappedRegion region_;  // the upper three levels, then the leaves
};

}  // namespace penumbra::bench
