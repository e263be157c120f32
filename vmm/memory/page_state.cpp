#include "vmm/memory/page_state.hpp"

#include <utility>

#include "base/assert.hpp"
#include "base/schedule_point.hpp"

namespace penumbra::vmm {

Result<PageStates> PageStates::create(std::uint64_t pages) {
    static_assert(sizeof(std::atomic<std::uint64_t>) == sizeof(std::uint64_t));
    const std::uint64_t bytes = (pages * sizeof(std::uint64_t) + page_bytes - 1) / page_bytes * page_bytes;
    PENUMBRA_TRY_ASSIGN(MappedRegion region, MappedRegion::anonymous(bytes));
    return PageStates{std::move(region), pages};
}

std::atomic<std::uint64_t>& PageStates::word(PageIndex page) const {
    const auto index = static_cast<std::uint64_t>(page);
    PENUMBRA_ASSERT(index < pages_, "page outside the window");
    return reinterpret_cast<std::atomic<std::uint64_t>*>(region_.data())[index];
}

PageWord PageStates::load(PageIndex page) const {
    const std::atomic<std::uint64_t>& at = word(page);
    schedule_point(Step::entry_read, &at);
    return PageWord{at.load(std::memory_order_seq_cst)};
}

bool PageStates::change(PageIndex page, PageWord from, PageWord to) {
    PENUMBRA_ASSERT(is_legal_move(from, to), "illegal move of a page");
    std::uint64_t expected = from.raw();
    schedule_point(Step::entry_write, &word(page));
    return word(page).compare_exchange_strong(expected, to.raw(), std::memory_order_seq_cst);
}

}  // namespace penumbra::vmm
