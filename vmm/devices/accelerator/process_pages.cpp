#include "vmm/devices/accelerator/process_pages.hpp"

#include <atomic>

namespace penumbra::vmm {

using mmu::ShadowOutcome;

EngineStep ProcessPages::fault(Gva at, mmu::FaultAccess access) {
    const mmu::ShadowAnswer answer = table_.fault(process_.context, at, user(access));
    switch (answer.outcome) {
        case ShadowOutcome::installed:
        case ShadowOutcome::spurious:
        case ShadowOutcome::retry:
            return EngineStep::done;
        case ShadowOutcome::pages_wanted:
            return bring_in(answer);
        case ShadowOutcome::wait:
            return control_.wait_until(answer.wait_until) == RingControl::Go::abandon ? EngineStep::abandoned
                                                                                      : EngineStep::done;
        case ShadowOutcome::guest_fault:
            return ask_guest(answer.guest);
        case ShadowOutcome::bad_address:
        case ShadowOutcome::not_ram:
        case ShadowOutcome::own_table:
        case ShadowOutcome::refused:
            return EngineStep::bad_address;
        case ShadowOutcome::no_context:
        case ShadowOutcome::denied:
            break;
    }
    control_.leave();
    control_.halt();
    return EngineStep::abandoned;
}

EngineStep ProcessPages::bring_in(const mmu::ShadowAnswer& answer) {
    for (const mmu::WantedPage& page : answer.wanted()) {
        if (const EngineStep step = physical_.bring_in({page.gfn, page.access}); step != EngineStep::done) return step;
    }
    return EngineStep::done;
}

EngineStep ProcessPages::ask_guest(const mmu::GuestPageFault& fault) {
    fault_address_ = fault.address;
    if (!process_.request_queue) return EngineStep::page_fault;
    const std::uint64_t number = control_.open_request();
    counters_.requests.add();
    const Gpa at = *process_.request_queue + number % abi::page_request_entries * sizeof(abi::AccelPageRequest);
    const EngineStep written = physical_.visit(at, mmu::FaultAccess::write, [&](std::byte* to) {
        auto& request = *reinterpret_cast<abi::AccelPageRequest*>(to);
        std::atomic_ref(request.address).store(fault.address.value(), std::memory_order_relaxed);
        std::atomic_ref(request.pasid).store(process_.pasid, std::memory_order_relaxed);
        std::atomic_ref(request.error_code).store(fault.error_code, std::memory_order_relaxed);
        std::atomic_ref(request.number).store(number, std::memory_order_release);
    });
    if (written != EngineStep::done) return written;
    switch (control_.wait_for_response()) {
        case RingControl::Response::served:
            return EngineStep::done;
        case RingControl::Response::failed:
            return EngineStep::page_fault;
        case RingControl::Response::abandoned:
            break;
    }
    return EngineStep::abandoned;
}

}  // namespace penumbra::vmm
