// How a test's thread plays the guest: through the EPT table, faulting in what is not there.
#pragma once

#include <algorithm>
#include <cstring>
#include <span>

#include "base/assert.hpp"
#include "shadow-mmu/fault/fault_handler.hpp"
#include "shadow-mmu/tables/ept_table.hpp"

namespace penumbra::test {

/// Calls fn(memory, done, piece) for the piece of each page.
template <class Fn>
void guest_touch(mmu::EptTable& ept, mmu::PageSource& pager, Gpa at, std::uint64_t bytes, Fn&& fn) {
    for (std::uint64_t done = 0; done < bytes;) {
        const Gpa here = at + done;
        const std::uint64_t piece = std::min(bytes - done, page_bytes - page_offset(here));
        if (const auto access = ept.access(frame_of(here))) {
            fn(pointer_to(access->page) + page_offset(here), done, piece);
            done += piece;
            continue;
        }
        const auto outcome = mmu::handle_fault(ept, pager, frame_of(here), mmu::FaultAccess::write);
        PENUMBRA_ASSERT(outcome && *outcome != mmu::FaultOutcome::emulate,
                        "the test's guest touched what is not there");
    }
}

inline void guest_write(mmu::EptTable& ept, mmu::PageSource& pager, Gpa to, std::span<const std::byte> from) {
    guest_touch(ept, pager, to, from.size(), [&](std::byte* at, std::uint64_t done, std::uint64_t piece) {
        std::memcpy(at, from.data() + done, piece);
    });
}

inline void guest_read(mmu::EptTable& ept, mmu::PageSource& pager, Gpa from, std::span<std::byte> to) {
    guest_touch(ept, pager, from, to.size(), [&](const std::byte* at, std::uint64_t done, std::uint64_t piece) {
        std::memcpy(to.data() + done, at, piece);
    });
}

}  // namespace penumbra::test
