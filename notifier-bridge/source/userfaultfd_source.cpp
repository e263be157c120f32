#include "notifier-bridge/source/userfaultfd_source.hpp"

#include <algorithm>
#include <tuple>

namespace penumbra::bridge {

void UserfaultfdSource::identify(Fault& fault) {
    const ThreadRegister::Entry* entry = ThreadRegister::instance().find(fault.thread);
    if (entry == nullptr) return;
    // The thread sleeps in the fault, so its entry and its restartable-sequence area stay.
    if (const std::uint32_t* cpu = entry->cpu.load(std::memory_order_acquire))
        fault.cpu = __atomic_load_n(cpu, __ATOMIC_RELAXED);
    switch (entry->role.load(std::memory_order_relaxed)) {
        case ThreadRole::vcpu:
            fault.origin = entry->in_guest.load(std::memory_order_acquire) ? FaultOrigin::guest : FaultOrigin::vmm;
            return;
        case ThreadRole::device:
            fault.origin = FaultOrigin::device;
            return;
        case ThreadRole::vmm:
            fault.origin = FaultOrigin::vmm;
            return;
        case ThreadRole::foreign:
            return;
    }
}

Result<std::span<Fault>> UserfaultfdSource::read(std::array<Fault, batch>& faults) const {
    std::array<FaultMessage, batch> messages;
    PENUMBRA_TRY_ASSIGN(const std::size_t count, uffd_.read(messages));
    for (std::size_t i = 0; i < count; ++i) {
        const FaultMessage& m = messages[i];
        faults[i] = Fault{.page = frame_of(m.address),
                          .kind = m.is_write_protect ? FaultKind::write_protected : FaultKind::missing,
                          .is_write = m.is_write,
                          .thread = m.thread};
        identify(faults[i]);
    }
    if (count < 2) return std::span{faults.data(), count};

    const auto key = [](const Fault& f) { return std::tuple{f.page, f.kind, f.origin}; };
    std::sort(faults.begin(), faults.begin() + static_cast<std::ptrdiff_t>(count),
              [&](const Fault& a, const Fault& b) { return key(a) < key(b); });
    std::size_t kept = 0;
    for (std::size_t i = 1; i < count; ++i) {
        if (key(faults[i]) == key(faults[kept])) {
            faults[kept].is_write = faults[kept].is_write || faults[i].is_write;
        } else {
            faults[++kept] = faults[i];
        }
    }
    return std::span{faults.data(), kept + 1};
}

}  // namespace penumbra::bridge
