// How the engine reaches guest memory by the addresses of a guest process: a ShadowTable access, held for the work on
// one page. What the guest's tables do not give is asked of the guest.
#pragma once

#include <cstdint>
#include <optional>

#include "base/counters.hpp"
#include "base/planted.hpp"
#include "shadow-mmu/fault/fault_handler.hpp"
#include "shadow-mmu/shadow/shadow_table.hpp"
#include "vmm/devices/accelerator/physical_pages.hpp"
#include "vmm/devices/accelerator/ring_control.hpp"

namespace penumbra::vmm {

/// Lives as long as one command; the engine's thread only, inside the gate of RingControl. No access is held while a
/// fault is handled or anything is waited for. A guest can make a command fault for ever: every round looks whether
/// the engine is wanted elsewhere.
///
/// A fault is handled inside the gate, because it sets flags in the guest's tables: when pause() returns that is over.
/// It waits for nothing but the ends of invalidations and of writes to watched tables.
class ProcessPages {
public:
    struct Process {
        mmu::ContextId context{};
        std::uint32_t pasid = 0;
        std::optional<Gpa> request_queue;  ///< a page of RAM
    };
    /// What the engine's processes asked of the guest.
    struct Counters {
        Counter requests;
    };

    ProcessPages(mmu::ShadowTable& table, PhysicalPages& physical, RingControl& control, const Process& process,
                 Counters& counters)
        : table_(table), physical_(physical), control_(control), process_(process), counters_(counters) {}

    /// Calls fn(std::byte*) once, with the byte at `at`, while its page is held.
    template <class Fn>
    [[nodiscard]] EngineStep visit(Gva at, mmu::FaultAccess access, Fn&& fn) {
        for (;;) {
            if (control_.check() == RingControl::Go::abandon) return EngineStep::abandoned;
            if (const auto held = table_.access(process_.context, at, user(access))) {
                if (planted(Plant::linger_in_access)) mmu::open_install_race();
                fn(pointer_to(held->page) + page_offset(at));
                return EngineStep::done;
            }
            if (const EngineStep step = fault(at, access); step != EngineStep::done) return step;
        }
    }
    /// Calls fn(from, to) once, while both pages are held. They may be one.
    template <class Fn>
    [[nodiscard]] EngineStep visit_two(Gva from, Gva to, Fn&& fn) {
        for (;;) {
            if (control_.check() == RingControl::Go::abandon) return EngineStep::abandoned;
            Gva missing = from;
            mmu::FaultAccess access = mmu::FaultAccess::read;
            if (const auto source = table_.access(process_.context, from, user(access))) {
                missing = to;
                access = mmu::FaultAccess::write;
                if (const auto target = table_.access(process_.context, to, user(access))) {
                    if (planted(Plant::linger_in_access)) mmu::open_install_race();
                    fn(pointer_to(source->page) + page_offset(from), pointer_to(target->page) + page_offset(to));
                    return EngineStep::done;
                }
            }
            if (const EngineStep step = fault(missing, access); step != EngineStep::done) return step;
        }
    }

    /// After page_fault: what could not be accessed.
    [[nodiscard]] Gva fault_address() const { return fault_address_; }

private:
    [[nodiscard]] static mmu::GuestAccess user(mmu::FaultAccess access) {
        const bool writes = access == mmu::FaultAccess::write;
        return {writes ? mmu::AccessKind::write : mmu::AccessKind::read, mmu::Privilege::user};
    }
    /// Done: look again.
    [[nodiscard]] EngineStep fault(Gva at, mmu::FaultAccess access);
    [[nodiscard]] EngineStep bring_in(const mmu::ShadowAnswer& answer);
    [[nodiscard]] EngineStep ask_guest(const mmu::GuestPageFault& fault);

    mmu::ShadowTable& table_;
    PhysicalPages& physical_;
    RingControl& control_;
    const Process process_;
    Counters& counters_;
    Gva fault_address_{};
};

}  // namespace penumbra::vmm
