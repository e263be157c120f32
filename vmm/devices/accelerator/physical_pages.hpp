// How the engine reaches guest memory by guest-physical address: a DeviceTable access, held for the work on one page.
#pragma once

#include <cstdint>

#include "shadow-mmu/tables/device_table.hpp"
#include "vmm/devices/accelerator/page_requests.hpp"
#include "vmm/devices/accelerator/ring_control.hpp"

namespace penumbra::vmm {

/// What a piece of work came to.
enum class EngineStep : std::uint8_t {
    done,
    bad_address,
    page_fault,  ///< see ProcessPages::fault_address()
    abandoned,   ///< the engine is outside and drops the command
};

/// The engine's thread only, inside the gate of RingControl. Where a page is not to be had at once it leaves, asks for
/// the page and waits, then looks again.
class PhysicalPages {
public:
    PhysicalPages(mmu::DeviceTable& table, RingControl& control, PageRequests& requests)
        : table_(table), control_(control), requests_(requests) {}

    /// Calls fn(std::byte*) once, with the byte at `at`, while its page is held.
    template <class Fn>
    [[nodiscard]] EngineStep visit(Gpa at, mmu::FaultAccess access, Fn&& fn) {
        for (;;) {
            if (control_.check() == RingControl::Go::abandon) return EngineStep::abandoned;
            if (const auto held = table_.access(frame_of(at), access)) {
                fn(pointer_to(held->page) + page_offset(at));
                return EngineStep::done;
            }
            if (const EngineStep step = bring_in({frame_of(at), access}); step != EngineStep::done) return step;
        }
    }
    /// Calls fn(from, to) once, while both pages are held.
    template <class Fn>
    [[nodiscard]] EngineStep visit_two(Gpa from, Gpa to, Fn&& fn) {
        for (;;) {
            if (control_.check() == RingControl::Go::abandon) return EngineStep::abandoned;
            PageRequest missing{frame_of(from), mmu::FaultAccess::read};
            // The first page is let go before the second is asked for: holding it would hold up its invalidation
            // meanwhile.
            if (const auto source = table_.access(frame_of(from), mmu::FaultAccess::read)) {
                if (const auto target = table_.access(frame_of(to), mmu::FaultAccess::write)) {
                    fn(pointer_to(source->page) + page_offset(from), pointer_to(target->page) + page_offset(to));
                    return EngineStep::done;
                }
                missing = {frame_of(to), mmu::FaultAccess::write};
            }
            if (const EngineStep step = bring_in(missing); step != EngineStep::done) return step;
        }
    }

    /// Waits for a page, outside. Afterwards the engine is inside again, unless abandoned.
    [[nodiscard]] EngineStep bring_in(PageRequest request);
    [[nodiscard]] const mmu::Memslots& memslots() const { return table_.memslots(); }

private:
    mmu::DeviceTable& table_;
    RingControl& control_;
    PageRequests& requests_;
};

}  // namespace penumbra::vmm
