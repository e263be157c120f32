#include "vmm/devices/accelerator/engine.hpp"

#include <atomic>
#include <cstddef>
#include <cstring>

#include "shadow-mmu/guest_walk/guest_rights.hpp"
#include "vmm/devices/accelerator/jobs.hpp"
#include "vmm/devices/accelerator/read_ahead.hpp"

namespace penumbra::vmm {

using abi::AccelCommand;
using abi::AccelOpcode;
using abi::AccelResult;
using mmu::FaultAccess;

namespace {

/// Runs the opcodes that work on memory.
template <class Address, class Pages, class Approach>
EngineStep work(const CommandOf<Address>& command, Pages& pages, Approach approach, std::uint64_t& value) {
    Job job(command, pages, approach);
    switch (command.opcode) {
        case AccelOpcode::nop:
        case AccelOpcode::invalidate:
            break;
        case AccelOpcode::copy:
            return job.copy();
        case AccelOpcode::fill:
            return job.fill();
        case AccelOpcode::crc32c: {
            std::uint32_t sum = 0;
            const EngineStep step = job.sum(sum);
            if (step == EngineStep::done) value = sum;
            return step;
        }
    }
    return EngineStep::done;
}

bool is_canonical(Gva first, std::uint64_t bytes, Level top) {
    // Ranges are much shorter than what lies between the halves.
    return bytes == 0 || (mmu::is_canonical(first, top) && mmu::is_canonical(first + (bytes - 1), top));
}

mmu::GvpRange pages_of(const CommandOf<Gva>& command) {
    if (command.bytes == 0) return mmu::whole_context;
    const mmu::Gvp first = frame_of(command.source);
    return {first, frame_of(command.source + (command.bytes - 1)) - first + 1};
}

}  // namespace

void Engine::run() {
    while (const std::optional<Ticket> ticket = control_.next()) {
        if (serve(*ticket) != EngineStep::done) continue;
        control_.complete(*ticket);
    }
}

EngineStep Engine::serve(const Ticket& ticket) {
    const Gpa slot = ticket.ring.slot(ticket.number);
    AccelCommand raw{};
    // Copied once: the guest may change the slot at any time, what is checked must be what is used.
    const EngineStep fetched =
        physical_.visit(slot, FaultAccess::read, [&](const std::byte* at) { std::memcpy(&raw, at, sizeof(raw)); });
    if (fetched != EngineStep::done) return fetched;
    const std::optional<Answer> answer = execute(raw, ticket);
    if (!answer) return EngineStep::abandoned;
    const EngineStep written = physical_.visit(slot, FaultAccess::write, [&](std::byte* at) {
        auto* command = reinterpret_cast<AccelCommand*>(at);
        std::atomic_ref(command->value).store(answer->value, std::memory_order_relaxed);
        std::atomic_ref(command->result).store(static_cast<std::uint32_t>(answer->result), std::memory_order_release);
    });
    if (written == EngineStep::done) commands_.add();
    return written;
}

std::optional<Engine::Answer> Engine::execute(const AccelCommand& raw, const Ticket& ticket) {
    const auto checked = checked_command(raw, table_.memslots());
    if (!checked) return Answer{checked.error(), 0};
    if (const auto* command = std::get_if<Command>(&*checked)) return execute(*command);
    return execute(std::get<ProcessCommand>(*checked), ticket);
}

std::optional<Engine::Answer> Engine::execute(const Command& command) {
    ReadAhead ahead(table_, requests_, command);
    Answer answer;
    switch (work(command, physical_, [&](std::uint64_t done) { ahead.move_to(done); }, answer.value)) {
        case EngineStep::done:
            bytes_.add(command.bytes);
            return answer;
        case EngineStep::bad_address:
        case EngineStep::page_fault:
            return Answer{AccelResult::bad_address, 0};
        case EngineStep::abandoned:
            break;
    }
    return std::nullopt;
}

std::optional<std::expected<ProcessSpaces::Process, AccelResult>> Engine::enter(std::uint32_t pasid,
                                                                                const Ticket& ticket) {
    if (!ticket.pasid_table || pasid >= abi::pasid_entries) return std::unexpected{AccelResult::bad_pasid};
    abi::PasidEntry entry{};
    const Gpa at = *ticket.pasid_table + pasid * sizeof(entry);
    const EngineStep read = physical_.visit(at, FaultAccess::read, [&](std::byte* from) {
        auto& of_guest = *reinterpret_cast<abi::PasidEntry*>(from);
        // The guest may switch roots meanwhile.
        entry.root = std::atomic_ref(of_guest.root).load(std::memory_order_acquire);
        entry.zero = std::atomic_ref(of_guest.zero).load(std::memory_order_relaxed);
    });
    if (read == EngineStep::abandoned) return std::nullopt;
    return spaces_.enter(pasid, entry);
}

std::optional<Engine::Answer> Engine::execute(const ProcessCommand& command, const Ticket& ticket) {
    process_commands_.add();
    const auto process = enter(command.pasid, ticket);
    if (!process) return std::nullopt;
    if (!*process) return Answer{process->error(), 0};
    ProcessPages pages(processes_, physical_, control_, {(*process)->context, command.pasid, ticket.request_queue},
                       process_counters_);
    return execute(command.command, **process, pages);
}

std::optional<Engine::Answer> Engine::execute(const CommandOf<Gva>& command, const ProcessSpaces::Process& process,
                                              ProcessPages& pages) {
    if (!is_canonical(command.source, command.bytes, process.top) ||
        !is_canonical(command.target, command.bytes, process.top)) {
        return Answer{AccelResult::bad_address, 0};
    }
    if (command.opcode == AccelOpcode::invalidate) {
        processes_.invalidate(process.context, pages_of(command));
        return Answer{};
    }
    Answer answer;
    switch (work(command, pages, [](std::uint64_t) {}, answer.value)) {
        case EngineStep::done:
            bytes_.add(command.bytes);
            return answer;
        case EngineStep::bad_address:
            return Answer{AccelResult::bad_address, 0};
        case EngineStep::page_fault:
            return Answer{AccelResult::page_fault, pages.fault_address().value()};
        case EngineStep::abandoned:
            break;
    }
    return std::nullopt;
}

}  // namespace penumbra::vmm
