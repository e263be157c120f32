// Writes to protected pages of the window. They have a thread of their own, and that is what every wait for a writer
// relies on: whoever writes for the VMM or a device holds its page meanwhile, so an invalidation of the page may be
// waiting for that writer, and workers of the pool for the end of that invalidation.
#include "base/planted.hpp"
#include "vmm/memory/fault_workers.hpp"

namespace penumbra::vmm {

using bridge::Fault;
using bridge::FaultKind;

bool FaultWorkers::is_told(const Fault& fault) const {
    return fault.kind == FaultKind::write_protected && options_.on_guest_write;
}

void FaultWorkers::run_writes() {
    for (;;) {
        Pending pending;
        {
            const MutexLock lock(mutex_);
            while (writes_.empty() && !stop_.load(std::memory_order_acquire)) writes_queued_.wait(mutex_);
            if (stop_.load(std::memory_order_acquire)) return;
            pending = writes_.front();
            writes_.pop_front();
        }
        serve_write(pending);
    }
}

void FaultWorkers::serve_write(const Pending& pending) {
    const Fault& fault = pending.fault;
    const std::optional<Gfn> gfn = ept_.memslots().to_guest(fault.page);
    if (planted(Plant::skip_guest_write)) {
        (void)uffd_.write_protect(HvpRange{fault.page, 1}, bridge::WriteProtection::remove);
    } else if (gfn) {
        options_.on_guest_write(*gfn);
    }
    if (gfn && !ept_.present(*gfn)) {
        // It left, or is leaving, and who takes it out wakes nobody: that is for a fault, which waits for its end.
        hand_over(std::span{&pending, 1});
        return;
    }
    uffd_.wake(HvpRange{fault.page, 1});
    finish(fault);
    options_.on_served(fault.thread);
}

}  // namespace penumbra::vmm
