// The accelerator's engine: fetches commands from the ring and executes them page by page.
//
// It reaches guest memory in one way only: a DeviceTable access, held for the work on one page. Without one it asks for
// the page and waits, outside the gate of RingControl and with no lock held, then looks again.
#pragma once

#include <cstdint>
#include <optional>

#include "base/counters.hpp"
#include "guest-images/common/machine_abi.hpp"
#include "shadow-mmu/tables/device_table.hpp"
#include "vmm/devices/accelerator/command.hpp"
#include "vmm/devices/accelerator/page_requests.hpp"
#include "vmm/devices/accelerator/read_ahead.hpp"
#include "vmm/devices/accelerator/ring_control.hpp"

namespace penumbra::vmm {

class Engine {
public:
    Engine(mmu::DeviceTable& table, RingControl& control, PageRequests& requests)
        : table_(table), control_(control), requests_(requests) {}

    /// The body of the engine's thread; returns after RingControl::stop(), or when the table was released.
    void run();

    /// Commands answered, and bytes worked on by those of them that were done.
    [[nodiscard]] std::uint64_t commands() const { return commands_.get(); }
    [[nodiscard]] std::uint64_t bytes() const { return bytes_.get(); }

private:
    enum class Step : std::uint8_t { done, bad_address, abandoned };
    struct Answer {
        abi::AccelResult result;
        std::uint64_t value;
    };

    /// Fetches, executes and answers one command.
    [[nodiscard]] Step serve(const RingControl::Ticket& ticket);
    /// nullopt: abandoned.
    [[nodiscard]] std::optional<Answer> execute(const abi::AccelCommand& raw);
    [[nodiscard]] Step copy(const Command& command, ReadAhead& ahead);
    [[nodiscard]] Step fill(const Command& command, ReadAhead& ahead);
    [[nodiscard]] Step sum(const Command& command, ReadAhead& ahead, std::uint32_t& sum);

    /// Calls fn(std::byte*) once, with the page's first byte, while the page is held.
    template <class Fn>
    [[nodiscard]] Step visit(Gfn gfn, mmu::FaultAccess access, Fn&& fn);
    /// Calls fn(from, to) once, while both pages are held.
    template <class Fn>
    [[nodiscard]] Step visit_two(Gfn from, Gfn to, Fn&& fn);
    /// Waits for a page, outside. Afterwards the engine is inside again, unless abandoned.
    [[nodiscard]] Step bring_in(PageRequest request);

    mmu::DeviceTable& table_;
    RingControl& control_;
    PageRequests& requests_;
    Counter commands_;
    Counter bytes_;
};

}  // namespace penumbra::vmm
