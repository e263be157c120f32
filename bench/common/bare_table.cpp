#include "bench/common/bare_table.hpp"

#include <utility>

namespace penumbra::bench {

Result<BareTable> BareTable::create() {
    constexpr std::uint64_t upper = 3;
    constexpr std::uint64_t nodes = upper + mapped_pages / entries_per_node;
    PENUMBRA_TRY_ASSIGN(MappedRegion region, MappedRegion::anonymous(nodes << page_shift));
    BareTable table(std::move(region));
    const auto link = [&](std::uint64_t from, std::uint64_t index, std::uint64_t to) {
        table.node(from)[index].store(reinterpret_cast<std::uint64_t>(table.node(to)), std::memory_order_relaxed);
    };
    link(0, 0, 1);
    link(1, first_frame.value() / mapped_pages, 2);
    for (std::uint64_t i = 0; i < entries_per_node; ++i) link(2, i, upper + i);
    table.fill();
    table.clear();
    return table;
}

void BareTable::link(const std::vector<std::uint32_t>& order) {
    for (std::size_t i = 0; i < order.size(); ++i) {
        leaves()[order[i]].store(order[(i + 1) % order.size()], std::memory_order_relaxed);
    }
}

void BareTable::store_all() {
    Slot* slots = leaves();
    for (std::uint64_t i = 0; i < mapped_pages; ++i) slots[i].store((i + 1) << page_shift, std::memory_order_relaxed);
}

std::uint64_t BareTable::erase_all() {
    Slot* slots = leaves();
    std::uint64_t erased = 0;
    for (std::uint64_t i = 0; i < mapped_pages; ++i) {
        if (slots[i].load(std::memory_order_relaxed) == 0) continue;
        slots[i].store(0, std::memory_order_relaxed);
        ++erased;
    }
    return erased;
}

}  // namespace penumbra::bench
