// What commands do, whatever the addresses they come in.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "vmm/devices/accelerator/command.hpp"
#include "vmm/devices/accelerator/crc32c.hpp"
#include "vmm/devices/accelerator/pattern.hpp"
#include "vmm/devices/accelerator/physical_pages.hpp"

namespace penumbra::vmm {

/// One command over PhysicalPages or ProcessPages. `approach(done)` is called before the work on byte `done`.
template <class Address, class Pages, class Approach>
class Job {
public:
    Job(const CommandOf<Address>& command, Pages& pages, Approach approach)
        : command_(command), pages_(pages), approach_(std::move(approach)) {}

    [[nodiscard]] EngineStep copy() {
        return each_piece(command_.source, command_.target, [&](Address from, Address to, std::uint64_t piece) {
            // Addresses that differ may lead to one page.
            return pages_.visit_two(
                from, to, [&](const std::byte* source, std::byte* target) { std::memmove(target, source, piece); });
        });
    }
    [[nodiscard]] EngineStep fill() {
        return each_piece(command_.target, command_.target, [&](Address to, Address, std::uint64_t piece) {
            return pages_.visit(to, mmu::FaultAccess::write, [&](std::byte* at) {
                fill_bytes(at, piece, turned(command_.pattern, to - command_.target));
            });
        });
    }
    [[nodiscard]] EngineStep sum(std::uint32_t& sum) {
        std::uint32_t state = crc32c_start;
        const EngineStep step =
            each_piece(command_.source, command_.source, [&](Address from, Address, std::uint64_t piece) {
                return pages_.visit(from, mmu::FaultAccess::read,
                                    [&](const std::byte* at) { state = crc32c_extend(state, {at, piece}); });
            });
        sum = crc32c_finish(state);
        return step;
    }

private:
    [[nodiscard]] static std::uint64_t left_in_page(Address at) { return page_bytes - page_offset(at); }
    /// Pieces that cross no page of either range.
    template <class Fn>
    [[nodiscard]] EngineStep each_piece(Address one, Address other, Fn&& fn) {
        for (std::uint64_t done = 0; done < command_.bytes;) {
            approach_(done);
            const Address at = one + done;
            const Address other_at = other + done;
            const std::uint64_t piece = std::min({command_.bytes - done, left_in_page(at), left_in_page(other_at)});
            if (const EngineStep step = fn(at, other_at, piece); step != EngineStep::done) return step;
            done += piece;
        }
        return EngineStep::done;
    }

    const CommandOf<Address>& command_;
    Pages& pages_;
    Approach approach_;
};

}  // namespace penumbra::vmm
