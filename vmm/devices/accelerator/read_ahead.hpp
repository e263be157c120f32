// Asks for a command's pages before the engine gets to them, so that their reads from disk overlap.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "shadow-mmu/tables/device_table.hpp"
#include "vmm/devices/accelerator/command.hpp"
#include "vmm/devices/accelerator/page_requests.hpp"

namespace penumbra::vmm {

/// Lives as long as one command; the engine's thread only.
class ReadAhead {
public:
    /// At most so many pages ahead of the engine, over all ranges of the command.
    static constexpr std::uint64_t window_pages = 64;

    ReadAhead(mmu::DeviceTable& table, PageRequests& requests, const Command& command);

    /// The engine is about to work on byte `done` of the command. Posts one batch when half of the window is used up.
    void move_to(std::uint64_t done);

private:
    struct Stream {
        Gpa start{};
        std::uint64_t bytes = 0;
        mmu::FaultAccess access = mmu::FaultAccess::read;
        std::uint64_t asked = 0;  // pages from the stream's first on that were looked at
    };
    void add(Gpa start, std::uint64_t bytes, mmu::FaultAccess access) {
        streams_[count_++] = Stream{start, bytes, access, 0};
    }

    mmu::DeviceTable& table_;
    PageRequests& requests_;
    std::array<Stream, 2> streams_{};
    std::size_t count_ = 0;
};

}  // namespace penumbra::vmm
