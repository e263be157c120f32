#include "vmm/devices/accelerator/engine.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstring>

#include "vmm/devices/accelerator/crc32c.hpp"

namespace penumbra::vmm {

using abi::AccelCommand;
using abi::AccelOpcode;
using abi::AccelResult;
using mmu::FaultAccess;

namespace {

std::uint64_t left_in_page(Gpa at) { return page_bytes - page_offset(at); }

/// As bytes lie in memory from byte `phase` of the pattern on.
std::uint64_t turned(std::uint64_t pattern, std::uint64_t phase) {
    return std::rotr(pattern, static_cast<int>(phase % 8 * 8));
}

void fill_bytes(std::byte* at, std::uint64_t bytes, std::uint64_t pattern) {
    for (; bytes >= sizeof(pattern); bytes -= sizeof(pattern), at += sizeof(pattern)) {
        std::memcpy(at, &pattern, sizeof(pattern));
    }
    std::memcpy(at, &pattern, bytes);
}

}  // namespace

void Engine::run() {
    while (const std::optional<RingControl::Ticket> ticket = control_.next()) {
        if (serve(*ticket) != Step::done) continue;
        control_.complete(*ticket);
    }
}

Engine::Step Engine::serve(const RingControl::Ticket& ticket) {
    const Gpa slot = ticket.ring.slot(ticket.number);
    AccelCommand raw{};
    // Copied once: the guest may change the slot at any time, what is checked must be what is used.
    const Step fetched = visit(frame_of(slot), FaultAccess::read, [&](const std::byte* page) {
        std::memcpy(&raw, page + page_offset(slot), sizeof(raw));
    });
    if (fetched != Step::done) return fetched;
    const std::optional<Answer> answer = execute(raw);
    if (!answer) return Step::abandoned;
    const Step written = visit(frame_of(slot), FaultAccess::write, [&](std::byte* page) {
        auto* command = reinterpret_cast<AccelCommand*>(page + page_offset(slot));
        std::atomic_ref(command->value).store(answer->value, std::memory_order_relaxed);
        std::atomic_ref(command->result).store(static_cast<std::uint32_t>(answer->result), std::memory_order_release);
    });
    if (written == Step::done) commands_.add();
    return written;
}

std::optional<Engine::Answer> Engine::execute(const AccelCommand& raw) {
    const auto checked = checked_command(raw, table_.memslots());
    if (!checked) return Answer{checked.error(), 0};
    const Command& command = *checked;
    ReadAhead ahead(table_, requests_, command);
    std::uint32_t value = 0;
    Step step = Step::done;
    switch (command.opcode) {
        case AccelOpcode::nop:
            break;
        case AccelOpcode::copy:
            step = copy(command, ahead);
            break;
        case AccelOpcode::fill:
            step = fill(command, ahead);
            break;
        case AccelOpcode::crc32c:
            step = sum(command, ahead, value);
            break;
    }
    if (step == Step::abandoned) return std::nullopt;
    if (step == Step::bad_address) return Answer{AccelResult::bad_address, 0};
    bytes_.add(command.bytes);
    return Answer{AccelResult::done, value};
}

Engine::Step Engine::copy(const Command& command, ReadAhead& ahead) {
    for (std::uint64_t done = 0; done < command.bytes;) {
        ahead.move_to(done);
        const Gpa from = command.source + done;
        const Gpa to = command.target + done;
        const std::uint64_t piece = std::min({command.bytes - done, left_in_page(from), left_in_page(to)});
        const Step step = visit_two(frame_of(from), frame_of(to), [&](const std::byte* source, std::byte* target) {
            std::memcpy(target + page_offset(to), source + page_offset(from), piece);
        });
        if (step != Step::done) return step;
        done += piece;
    }
    return Step::done;
}

Engine::Step Engine::fill(const Command& command, ReadAhead& ahead) {
    for (std::uint64_t done = 0; done < command.bytes;) {
        ahead.move_to(done);
        const Gpa to = command.target + done;
        const std::uint64_t piece = std::min(command.bytes - done, left_in_page(to));
        const Step step = visit(frame_of(to), FaultAccess::write, [&](std::byte* page) {
            fill_bytes(page + page_offset(to), piece, turned(command.pattern, done));
        });
        if (step != Step::done) return step;
        done += piece;
    }
    return Step::done;
}

Engine::Step Engine::sum(const Command& command, ReadAhead& ahead, std::uint32_t& sum) {
    std::uint32_t state = crc32c_start;
    for (std::uint64_t done = 0; done < command.bytes;) {
        ahead.move_to(done);
        const Gpa from = command.source + done;
        const std::uint64_t piece = std::min(command.bytes - done, left_in_page(from));
        const Step step = visit(frame_of(from), FaultAccess::read, [&](const std::byte* page) {
            state = crc32c_extend(state, {page + page_offset(from), piece});
        });
        if (step != Step::done) return step;
        done += piece;
    }
    sum = crc32c_finish(state);
    return Step::done;
}

template <class Fn>
Engine::Step Engine::visit(Gfn gfn, FaultAccess access, Fn&& fn) {
    for (;;) {
        if (control_.check() == RingControl::Go::abandon) return Step::abandoned;
        if (const auto held = table_.access(gfn)) {
            fn(pointer_to(held->page));
            return Step::done;
        }
        if (const Step step = bring_in({gfn, access}); step != Step::done) return step;
    }
}

template <class Fn>
Engine::Step Engine::visit_two(Gfn from, Gfn to, Fn&& fn) {
    for (;;) {
        if (control_.check() == RingControl::Go::abandon) return Step::abandoned;
        PageRequest missing{from, FaultAccess::read};
        // The first page is let go before the second is asked for: holding it would hold up its invalidation meanwhile.
        if (const auto source = table_.access(from)) {
            if (const auto target = table_.access(to)) {
                fn(pointer_to(source->page), pointer_to(target->page));
                return Step::done;
            }
            missing = {to, FaultAccess::write};
        }
        if (const Step step = bring_in(missing); step != Step::done) return step;
    }
}

Engine::Step Engine::bring_in(PageRequest request) {
    control_.leave();
    const PageAnswer answer = requests_.fetch(request);
    if (answer == PageAnswer::denied) {
        control_.halt();
        return Step::abandoned;
    }
    if (control_.enter() == RingControl::Go::abandon) return Step::abandoned;
    return answer == PageAnswer::not_ram ? Step::bad_address : Step::done;
}

}  // namespace penumbra::vmm
