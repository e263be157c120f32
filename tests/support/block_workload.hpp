// Random requests to a disk against a model of what it holds: an array of bytes.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "tests/support/block_bench.hpp"

namespace penumbra::test {

/// Where the workload may put its data, and whether it does so at addresses that direct I/O cannot take.
struct WorkloadPlace {
    Gpa memory;
    std::uint64_t memory_bytes = 0;
    enum class Alignment : std::uint8_t { sectors, any } alignment = Alignment::sectors;
};

/// Rounds of requests that are in flight at once, none of which touches another's sectors or memory. One seed gives
/// one workload.
class BlockWorkload {
public:
    BlockWorkload(BlockBench& bench, std::vector<std::byte> disk, const WorkloadPlace& place, std::uint64_t seed)
        : bench_(bench), disk_(std::move(disk)), place_(place), random_(seed) {}

    /// Stops at the first difference, which it reports with the place in guest memory.
    void run(unsigned rounds) {
        for (unsigned round = 0; round < rounds && !testing::Test::HasFailure(); ++round) run_round();
    }
    [[nodiscard]] const std::vector<std::byte>& disk() const { return disk_; }

private:
    static constexpr unsigned lanes = 8;
    struct Request {
        BlockAsk ask;
        std::uint64_t first = 0;       // byte of the disk
        std::vector<std::byte> bytes;  // what a read should bring, or a write leaves
    };

    std::uint64_t below(std::uint64_t end) { return random_() % end; }

    /// Splits `bytes` of lane's memory into segments.
    std::vector<Buffer> segments(unsigned lane, std::uint64_t bytes, Buffer::Use use) {
        const bool sectors = place_.alignment == WorkloadPlace::Alignment::sectors;
        const std::uint64_t unit = sectors ? 512 : 1;
        const std::uint64_t room = place_.memory_bytes / lanes;
        Gpa at = place_.memory + lane * room + below(4096 / unit) * unit;
        std::vector<Buffer> made;
        while (bytes > 0) {
            std::uint64_t part = made.size() == 5 ? bytes : (1 + below(bytes / unit)) * unit;
            part = std::min(part, bytes);
            made.push_back({at, static_cast<std::uint32_t>(part), use});
            at = at + part + below(3) * unit;  // a gap now and then
            bytes -= part;
        }
        return made;
    }

    Request make(unsigned lane) {
        const std::uint64_t lane_sectors = disk_.size() / lanes / 512;
        const std::uint64_t most = place_.memory_bytes / lanes / 512 / 2;
        const std::uint64_t sectors = 1 + below(std::min(most, lane_sectors));
        const std::uint64_t first = lane * lane_sectors + below(lane_sectors - sectors + 1);
        Request made;
        made.first = first * 512;
        made.ask.sector = first;
        const auto from = disk_.begin() + static_cast<std::ptrdiff_t>(made.first);
        switch (below(8)) {
            case 0:
                return ranges(std::move(made), lane, VIRTIO_BLK_T_DISCARD, sectors);
            case 1:
                return ranges(std::move(made), lane, VIRTIO_BLK_T_WRITE_ZEROES, sectors);
            case 2:
            case 3:
            case 4:
                made.ask.type = VIRTIO_BLK_T_OUT;
                made.ask.data = segments(lane, sectors * 512, Buffer::Use::device_reads);
                made.bytes = pattern(random_(), sectors * 512);
                put(made);
                break;
            default:
                made.ask.type = VIRTIO_BLK_T_IN;
                made.ask.data = segments(lane, sectors * 512, Buffer::Use::device_writes);
                made.bytes.assign(from, from + static_cast<std::ptrdiff_t>(sectors * 512));
        }
        return made;
    }

    Request ranges(Request made, unsigned lane, std::uint32_t type, std::uint64_t sectors) {
        made.ask.type = type;
        made.ask.sector = 0;
        made.bytes.assign(sectors * 512, std::byte{0});
        const Gpa list = place_.memory + lane * (place_.memory_bytes / lanes) + below(page_bytes);
        made.ask.data = {{list, sizeof(virtio_blk_discard_write_zeroes), Buffer::Use::device_reads}};
        const std::uint32_t unmap = type == VIRTIO_BLK_T_DISCARD ? 0 : static_cast<std::uint32_t>(below(2));
        bench_.memory().put(
            list, virtio_blk_discard_write_zeroes{made.first / 512, static_cast<std::uint32_t>(sectors), unmap});
        return made;
    }

    void put(const Request& request) {
        std::span<const std::byte> rest = request.bytes;
        for (const Buffer& part : request.ask.data) {
            bench_.memory().write(part.at, rest.first(part.bytes));
            rest = rest.subspan(part.bytes);
        }
    }

    void run_round() {
        std::vector<Request> requests;
        std::vector<unsigned> of_slot(BlockBench::queue_size);
        for (unsigned lane = 0; lane < lanes; ++lane) requests.push_back(make(lane));
        for (unsigned i = 0; i < lanes; ++i) of_slot[bench_.begin(requests[i].ask)] = i;
        for (unsigned i = 0; i < lanes; ++i) {
            const auto answer = bench_.wait();
            ASSERT_TRUE(answer.has_value()) << "a request was not answered";
            ASSERT_EQ(answer->status, VIRTIO_BLK_S_OK);
            check(requests[of_slot[answer->request]]);
        }
        if (below(4) != 0) return;
        ASSERT_EQ(bench_.run({VIRTIO_BLK_T_FLUSH, 0, {}}), VIRTIO_BLK_S_OK);
    }

    void check(const Request& request) {
        if (request.ask.type != VIRTIO_BLK_T_IN) {
            std::ranges::copy(request.bytes, disk_.begin() + static_cast<std::ptrdiff_t>(request.first));
            return;
        }
        std::size_t done = 0;
        for (const Buffer& part : request.ask.data) {
            std::vector<std::byte> got(part.bytes);
            bench_.memory().read(part.at, got);
            for (std::size_t i = 0; i < got.size(); ++i) {
                if (got[i] == request.bytes[done + i]) continue;
                FAIL() << "guest page 0x" << std::hex << frame_of(part.at + i).value() << " does not hold what byte 0x"
                       << request.first + done + i << " of the disk holds";
            }
            done += got.size();
        }
    }

    BlockBench& bench_;
    std::vector<std::byte> disk_;
    const WorkloadPlace place_;
    std::mt19937_64 random_;
};

}  // namespace penumbra::test
