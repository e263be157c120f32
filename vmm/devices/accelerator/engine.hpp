// The accelerator's engine: fetches commands from the ring and executes them page by page.
//
// It reaches guest memory in two ways only: by guest-physical address through a DeviceTable access (PhysicalPages), by
// a process's address through a ShadowTable access (ProcessPages), held for the work on one page.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>

#include "base/counters.hpp"
#include "guest-images/common/machine_abi.hpp"
#include "shadow-mmu/shadow/shadow_table.hpp"
#include "shadow-mmu/tables/device_table.hpp"
#include "vmm/devices/accelerator/command.hpp"
#include "vmm/devices/accelerator/page_requests.hpp"
#include "vmm/devices/accelerator/physical_pages.hpp"
#include "vmm/devices/accelerator/process_pages.hpp"
#include "vmm/devices/accelerator/process_spaces.hpp"
#include "vmm/devices/accelerator/ring_control.hpp"

namespace penumbra::vmm {

class Engine {
public:
    Engine(mmu::DeviceTable& table, mmu::ShadowTable& processes, RingControl& control, PageRequests& requests)
        : table_(table),
          processes_(processes),
          control_(control),
          requests_(requests),
          physical_(table, control, requests),
          spaces_(processes, table.memslots()) {}

    /// The body of the engine's thread; returns after RingControl::stop(), or when a table was released.
    void run();
    /// Forgets every process. While the engine is idle in a reset, or its thread has ended.
    void close_processes() { spaces_.close_all(); }

    /// Commands answered, those of them that named a process, and bytes worked on by those that were done.
    [[nodiscard]] std::uint64_t commands() const { return commands_.get(); }
    [[nodiscard]] std::uint64_t process_commands() const { return process_commands_.get(); }
    [[nodiscard]] std::uint64_t bytes() const { return bytes_.get(); }
    /// Page requests to the guest.
    [[nodiscard]] std::uint64_t guest_requests() const { return process_counters_.requests.get(); }

private:
    struct Answer {
        abi::AccelResult result = abi::AccelResult::done;
        std::uint64_t value = 0;
    };
    using Ticket = RingControl::Ticket;

    /// Fetches, executes and answers one command.
    [[nodiscard]] EngineStep serve(const Ticket& ticket);
    /// nullopt: abandoned.
    [[nodiscard]] std::optional<Answer> execute(const abi::AccelCommand& raw, const Ticket& ticket);
    [[nodiscard]] std::optional<Answer> execute(const Command& command);
    [[nodiscard]] std::optional<Answer> execute(const ProcessCommand& command, const Ticket& ticket);
    [[nodiscard]] std::optional<Answer> execute(const CommandOf<Gva>& command, const ProcessSpaces::Process& process,
                                                ProcessPages& pages);
    /// nullopt: abandoned. The process that the PASID's entry names now.
    [[nodiscard]] std::optional<std::expected<ProcessSpaces::Process, abi::AccelResult>> enter(std::uint32_t pasid,
                                                                                               const Ticket& ticket);

    mmu::DeviceTable& table_;
    mmu::ShadowTable& processes_;
    RingControl& control_;
    PageRequests& requests_;
    PhysicalPages physical_;
    ProcessSpaces spaces_;
    ProcessPages::Counters process_counters_;
    Counter commands_;
    Counter process_commands_;
    Counter bytes_;
};

}  // namespace penumbra::vmm
