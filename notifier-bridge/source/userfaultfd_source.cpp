#include "notifier-bridge/source/userfaultfd_source.hpp"

#include <algorithm>
#include <tuple>

namespace penumbra::bridge {

FaultOrigin UserfaultfdSource::origin_of(pid_t thread) {
    const ThreadRegister::Entry* entry = ThreadRegister::instance().find(thread);
    if (entry == nullptr) return FaultOrigin::foreign;
    switch (entry->role.load(std::memory_order_relaxed)) {
        case ThreadRole::vcpu:
            return entry->in_guest.load(std::memory_order_acquire) ? FaultOrigin::guest : FaultOrigin::vmm;
        case ThreadRole::device:
            return FaultOrigin::device;
        case ThreadRole::vmm:
            return FaultOrigin::vmm;
        case ThreadRole::foreign:
            break;
    }
    return FaultOrigin::foreign;
}

Result<std::span<Fault>> UserfaultfdSource::read(std::array<Fault, batch>& faults) const {
    std::array<FaultMessage, batch> messages;
    PENUMBRA_TRY_ASSIGN(const std::size_t count, uffd_.read(messages));
    for (std::size_t i = 0; i < count; ++i) {
        const FaultMessage& m = messages[i];
        faults[i] = Fault{frame_of(m.address), m.is_write_protect ? FaultKind::write_protected : FaultKind::missing,
                          origin_of(m.thread), m.is_write, m.thread};
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
