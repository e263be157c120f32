// Turns userfaultfd messages into faults: read in batches, sorted by page, one fault per page and kind, and each told
// who caused it.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/thread.hpp"
#include "notifier-bridge/source/userfaultfd.hpp"

namespace penumbra::bridge {

enum class FaultKind : std::uint8_t { missing, write_protected };

/// Who faulted. Only guests may: everybody else must go through a table entry, so their fault means that one is stale.
enum class FaultOrigin : std::uint8_t {
    guest,    ///< a vCPU inside KVM_RUN, or a host thread standing in for one
    vmm,      ///< a vCPU thread outside KVM_RUN, or any other thread of the VMM: a stale EPT entry
    device,   ///< a device's thread: a stale device-table entry
    foreign,  ///< an id that is not ours: KVM's asynchronous page-fault workers, io_uring's
};

struct Fault {
    Hvp page{};
    FaultKind kind = FaultKind::missing;
    FaultOrigin origin = FaultOrigin::foreign;
    bool is_write = false;            ///< any of the merged messages wrote
    pid_t thread = 0;                 ///< one of the threads that wait
    std::uint32_t cpu = unknown_cpu;  ///< where that thread ran when it faulted

    static constexpr std::uint32_t unknown_cpu = ~std::uint32_t{0};
};

class UserfaultfdSource {
public:
    static constexpr std::size_t batch = 32;

    explicit UserfaultfdSource(const Userfaultfd& uffd) : uffd_(uffd) {}

    /// Faults waiting now, sorted and merged; empty when there are none. Never blocks. Thread-safe.
    [[nodiscard]] Result<std::span<Fault>> read(std::array<Fault, batch>& faults) const;

private:
    static void identify(Fault& fault);

    const Userfaultfd& uffd_;
};

}  // namespace penumbra::bridge
