#include "vmm/devices/accelerator/read_ahead.hpp"

#include <algorithm>
#include <span>

namespace penumbra::vmm {

using abi::AccelOpcode;
using mmu::FaultAccess;

ReadAhead::ReadAhead(mmu::DeviceTable& table, PageRequests& requests, const Command& command)
    : table_(table), requests_(requests) {
    const AccelOpcode opcode = command.opcode;
    if (opcode == AccelOpcode::copy || opcode == AccelOpcode::crc32c) {
        add(command.source, command.bytes, FaultAccess::read);
    }
    if (opcode == AccelOpcode::copy || opcode == AccelOpcode::fill) {
        add(command.target, command.bytes, FaultAccess::write);
    }
}

void ReadAhead::move_to(std::uint64_t done) {
    std::array<PageRequest, window_pages> batch;
    std::size_t size = 0;
    for (Stream& stream : std::span{streams_}.first(count_)) {
        const Gfn first = frame_of(stream.start);
        const std::uint64_t pages = frame_of(stream.start + (stream.bytes - 1)) - first + 1;
        const std::uint64_t at = frame_of(stream.start + done) - first;
        const std::uint64_t window = window_pages / count_;
        if (stream.asked == pages || stream.asked > at + window / 2) continue;
        const std::uint64_t until = std::min(pages, at + window);
        for (stream.asked = std::max(stream.asked, at); stream.asked < until; ++stream.asked) {
            const Gfn gfn = first + stream.asked;
            if (!table_.present(gfn)) batch[size++] = PageRequest{gfn, stream.access};
        }
    }
    if (size > 0) requests_.post(std::span{batch}.first(size));
}

}  // namespace penumbra::vmm
