// The page source of device tables: a page is theirs to map while it is in the window. Resolving brings it in through
// the EPT table's own fault; the device table's sequence, sampled before, tells whether it left again.
#pragma once

#include <atomic>

#include "base/counters.hpp"
#include "shadow-mmu/fault/fault_handler.hpp"
#include "shadow-mmu/tables/ept_table.hpp"

namespace penumbra::mmu {

class WindowSource final : public PageSource {
public:
    WindowSource(EptTable& ept, PageSource& pager) : ept_(ept), pager_(pager) {}

    [[nodiscard]] Result<ResolvedPage> resolve(Hvp page, FaultAccess access) override;
    [[nodiscard]] std::optional<Content> commit(Hvp page, ResolvedPage& resolved) override;
    void conclude(Hvp, ResolvedPage&, Conclusion) override {}

    /// Pages that were out of the window when a device asked for them.
    [[nodiscard]] std::uint64_t brought_in() const { return brought_in_.get(); }

private:
    static constexpr std::uint64_t in_window = 1;  // a ticket

    EptTable& ept_;
    PageSource& pager_;
    Counter brought_in_;
};

}  // namespace penumbra::mmu
