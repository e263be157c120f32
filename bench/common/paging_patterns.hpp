// The orders in which the benchmark `paging` touches pages, and what each page must hold by then.
#pragma once

#include <cstdint>
#include <vector>

#include "guest-images/common/machine_abi.hpp"
#include "guest-images/common/touch_list.hpp"

namespace penumbra::bench {

/// What both sides work on: 512 MiB.
inline constexpr std::uint32_t paging_pages = 131072;
/// A list with as many orders as there are pages.
inline constexpr std::size_t touch_list_bytes =
    abi::touch_orders_offset + std::size_t{paging_pages} * sizeof(abi::TouchOrder);

enum class Pattern : std::uint8_t {
    sequential,
    stride8,  ///< every eighth page; at the end on with the pages right behind the ones that were first
    zipf,     ///< theta 0.99, popular pages scattered
    random,   ///< uniform
};

/// One side's lists. Both sides get the same touches for the same pattern and round.
class TouchLists {
public:
    TouchLists();
    /// Fills `list`, whose touches must then be made. `round` counts from 0; `touches` are at most paging_pages.
    void fill(abi::TouchList& list, Pattern pattern, abi::TouchKind kind, std::uint32_t touches, std::uint32_t round);

private:
    [[nodiscard]] std::uint32_t zipf_page(double uniform) const;

    std::vector<std::uint32_t> changes_;
    std::vector<double> zipf_sums_;         // of the weights of ranks, up to each
    std::vector<std::uint32_t> scattered_;  // page of each rank
};

}  // namespace penumbra::bench
