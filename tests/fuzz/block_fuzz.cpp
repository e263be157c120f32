// A hostile driver at a disk: any chains, any requests, any ring contents, over memory of which part is swapped out.
// Nothing may crash, hang, or change the file's size; after a reset the disk works.
//
// covers: vmm/devices/virtio/block.cpp vmm/devices/virtio/block_bounce.cpp vmm/devices/virtio/block_engine.cpp
// covers: vmm/devices/virtio/block_ranges.cpp vmm/devices/virtio/block_request.cpp
// covers: vmm/devices/virtio/block_transfer.cpp
// leaves: vmm/devices/virtio/block_config.cpp: made of the host's file
// leaves: vmm/devices/virtio/block_counters.cpp: names of counters
// leaves: vmm/devices/virtio/block_setup.cpp: opens the host's file, and speaks of its errors
#include <fuzzer/FuzzedDataProvider.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <memory>
#include <vector>

#include "base/assert.hpp"
#include "tests/fuzz/swapped.hpp"
#include "tests/support/block_bench.hpp"
#include "tests/support/fake_dma_machine.hpp"

namespace {

using namespace penumbra;
using namespace penumbra::test;

constexpr std::uint64_t disk_bytes = 1U << 18;
constexpr Gpa low = address_of(FakeDmaMachine::low_first);
constexpr Gpa high = address_of(FakeDmaMachine::high_first);
constexpr std::uint64_t slot_bytes = FakeDmaMachine::slot_pages * page_bytes;

/// Disks of every kind: on a file system that can clear ranges, on one that can only cut holes, read-only, around the
/// host's page cache.
enum class Kind : std::uint8_t { file, memory, read_only, direct, count };

std::filesystem::path folder_for(Kind kind) {
    if (kind == Kind::direct) return direct_folder().value_or(std::filesystem::path{});
    return kind == Kind::memory ? "/dev/shm" : "";
}

struct Rig {
    /// A fuzzer ends without destructors: the file goes at once, and lives on as the disk's.
    explicit Rig(Kind wanted) : kind(wanted) { ::unlink(image.path().c_str()); }
    [[nodiscard]] std::uint64_t file_bytes() {
        struct stat status{};
        PENUMBRA_ASSERT(::fstat(bench.device().file().fd(), &status) == 0, "the disk's file is gone");
        return static_cast<std::uint64_t>(status.st_size);
    }
    /// Somebody on the host changes the file's length.
    void set_file_bytes(std::uint64_t bytes) {
        if (kind == Kind::read_only) return;
        const int rc = ::ftruncate(bench.device().file().fd(), static_cast<off_t>(bytes));
        PENUMBRA_ASSERT(rc == 0, "the disk's file cannot be cut");
        cut = bytes != disk_bytes;
    }

    const Kind kind;
    bool cut = false;
    SwappedMemory swapped{kind == Kind::file        ? "block_fuzz, file"
                          : kind == Kind::memory    ? "block_fuzz, memory file"
                          : kind == Kind::read_only ? "block_fuzz, read-only"
                                                    : "block_fuzz, direct"};
    FakeDmaMachine machine;
    DiskImage image{disk_bytes, folder_for(kind)};
    BlockBench bench{
        machine,
        image.options(kind == Kind::read_only ? vmm::DiskAccess::read_only : vmm::DiskAccess::read_write,
                      kind == Kind::direct && direct_folder() ? vmm::DiskCaching::direct : vmm::DiskCaching::buffered),
        low};
};

/// One of each kind for all inputs, for speed.
Rig& rig_of(Kind kind) {
    static std::array<std::unique_ptr<Rig>, static_cast<std::size_t>(Kind::count)> rigs;
    std::unique_ptr<Rig>& rig = rigs[static_cast<std::size_t>(kind)];
    if (!rig) rig = std::make_unique<Rig>(kind);
    return *rig;
}

/// Addresses in RAM, at its edges, and anywhere.
Gpa some_address(FuzzedDataProvider& input) {
    const auto offset = input.ConsumeIntegralInRange<std::uint64_t>(0, slot_bytes + page_bytes);
    switch (input.ConsumeIntegralInRange(0, 7)) {
        case 0:
            return Gpa{input.ConsumeIntegral<std::uint64_t>()};
        case 1:
            return low + offset;
        default:
            return high + offset;
    }
}

std::uint32_t some_length(FuzzedDataProvider& input) {
    switch (input.ConsumeIntegralInRange(0, 3)) {
        case 0:
            return input.ConsumeIntegral<std::uint32_t>();
        case 1:
            return input.ConsumeIntegralInRange(0U, 64U);
        default:
            return 512 * input.ConsumeIntegralInRange(1U, 64U);
    }
}

std::uint64_t some_sector(FuzzedDataProvider& input) {
    return input.ConsumeIntegralInRange(0, 3) == 0 ? input.ConsumeIntegral<std::uint64_t>()
                                                   : input.ConsumeIntegralInRange<std::uint64_t>(0, disk_bytes / 512);
}

bool is_ram(Gpa at, std::uint64_t bytes) {
    for (const Gpa first : {low, high}) {
        if (at >= first && at - first < slot_bytes && bytes <= slot_bytes - (at - first)) return true;
    }
    return false;
}

Buffer some_buffer(FuzzedDataProvider& input) {
    const auto use = input.ConsumeBool() ? Buffer::Use::device_writes : Buffer::Use::device_reads;
    return {some_address(input), some_length(input), use};
}

/// A request as a good driver frames it, but for what it says.
void request(FuzzedDataProvider& input, BlockBench& bench) {
    constexpr std::array<std::uint32_t, 8> types{
        VIRTIO_BLK_T_IN,      VIRTIO_BLK_T_OUT,          VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID,
        VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_T_IN,    99};
    const Gpa header = high + input.ConsumeIntegralInRange<std::uint64_t>(0, slot_bytes - 16);
    const Gpa status = input.ConsumeIntegralInRange(0, 15) == 0
                           ? some_address(input)
                           : high + input.ConsumeIntegralInRange<std::uint64_t>(0, slot_bytes - 1);
    bench.memory().put(header, virtio_blk_outhdr{input.PickValueInArray(types), 0, some_sector(input)});
    std::vector<Buffer> chain{device_reads(header, 16)};
    for (auto parts = input.ConsumeIntegralInRange(0U, 6U); parts > 0; --parts) {
        Buffer buffer = some_buffer(input);
        // Readable ones first (2.7.4.2), or the chain is refused before anybody looks at it.
        if (chain.back().use == Buffer::Use::device_writes) buffer.use = Buffer::Use::device_writes;
        chain.push_back(buffer);
    }
    chain.push_back(device_writes(status, 1));
    // Not each by itself, so that many are begun at once.
    if (bench.driver().queue(0).add(chain) && input.ConsumeBool()) bench.driver().kick(0);
}

/// As a good driver asks, so that the disk has work: whole sectors, in RAM and on the disk.
void good_request(FuzzedDataProvider& input, BlockBench& bench) {
    const bool writes = input.ConsumeBool();
    const std::uint32_t type = writes ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN;
    const auto place = [&](std::uint64_t unit) {
        return high + unit * input.ConsumeIntegralInRange<std::uint64_t>(0, slot_bytes / 2 / unit - 1);
    };
    const Gpa header = place(16);
    bench.memory().put(header, virtio_blk_outhdr{type, 0, input.ConsumeIntegralInRange<std::uint64_t>(0, 255)});
    std::vector<Buffer> chain{device_reads(header, 16)};
    const bool aligned = input.ConsumeBool();
    for (auto parts = input.ConsumeIntegralInRange(1U, 4U); parts > 0; --parts) {
        const Gpa at = place(aligned ? 512 : 4);
        const std::uint32_t bytes = 512 * input.ConsumeIntegralInRange(1U, 64U);
        chain.push_back(writes ? device_reads(at, bytes) : device_writes(at, bytes));
    }
    chain.push_back(device_writes(place(1), 1));
    if (bench.driver().queue(0).add(chain) && input.ConsumeBool()) bench.driver().kick(0);
}

virtio_blk_discard_write_zeroes some_range(FuzzedDataProvider& input, bool good) {
    if (good) {
        return {input.ConsumeIntegralInRange<std::uint64_t>(0, disk_bytes / 1024),
                input.ConsumeIntegralInRange(0U, std::uint32_t{disk_bytes / 1024}), 0};
    }
    const std::uint32_t sectors =
        input.ConsumeBool() ? input.ConsumeIntegralInRange(0U, 64U) : input.ConsumeIntegral<std::uint32_t>();
    return {some_sector(input), sectors, input.ConsumeIntegralInRange(0U, 3U)};
}

void ranges(FuzzedDataProvider& input, BlockBench& bench) {
    const Gpa header = high + input.ConsumeIntegralInRange<std::uint64_t>(0, slot_bytes / 2);
    const bool discard = input.ConsumeBool();
    const std::uint32_t type = discard ? VIRTIO_BLK_T_DISCARD : VIRTIO_BLK_T_WRITE_ZEROES;
    bench.memory().put(header, virtio_blk_outhdr{type, 0, 0});
    const bool good = input.ConsumeBool();
    const auto count = input.ConsumeIntegralInRange(0U, good ? 4U : 33U);
    for (unsigned i = 0; i < count; ++i) {
        virtio_blk_discard_write_zeroes range = some_range(input, good);
        if (good && !discard && input.ConsumeBool()) range.flags = VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
        bench.memory().put(header + 16 + 16 * std::uint64_t{i}, range);
    }
    const std::uint32_t bytes = 16 * count + (input.ConsumeIntegralInRange(0, 7) == 0 ? 3 : 0);
    std::vector<Buffer> chain{device_reads(header, 16)};
    if (bytes > 0)
        chain.push_back(
            device_reads(input.ConsumeIntegralInRange(0, 15) == 0 ? some_address(input) : header + 16, bytes));
    chain.push_back(device_writes(header + 1024, 1));
    if (bench.driver().queue(0).add(chain) && input.ConsumeBool()) bench.driver().kick(0);
}

void spoil(FuzzedDataProvider& input, BlockBench& bench) {
    const Gpa at = some_address(input);
    const std::vector<std::uint8_t> bytes = input.ConsumeBytes<std::uint8_t>(input.ConsumeIntegralInRange(1U, 64U));
    if (is_ram(at, bytes.size())) bench.memory().write(at, std::as_bytes(std::span{bytes}));
}

void let_work(BlockBench& bench) {
    for (unsigned i = 0; i < 20; ++i) {
        if (bench.driver().memory().load16(bench.driver().queue(0).place().used + 2) != 0) return;
        ::sched_yield();
    }
}

void step(FuzzedDataProvider& input, Rig& rig) {
    switch (input.ConsumeIntegralInRange(0, 15)) {
        case 0:
        case 1:
            return swap_some_out(input, rig.machine);
        case 2:
            return spoil(input, rig.bench);
        case 3:
            return ranges(input, rig.bench);
        case 4:
            return let_work(rig.bench);
        case 5: {
            const std::vector<Buffer> chain{some_buffer(input), some_buffer(input)};
            if (rig.bench.driver().queue(0).add(chain)) rig.bench.driver().kick(0);
            return;
        }
        case 6:
            rig.bench.driver().registers().set_config(input.ConsumeIntegral<std::uint8_t>(), 4,
                                                      input.ConsumeIntegral<std::uint32_t>());
            return;
        case 7:
            rig.bench.pause();
            swap_some_out(input, rig.machine);
            return rig.bench.resume();
        case 8:
            return rig.set_file_bytes(512 * input.ConsumeIntegralInRange<std::uint64_t>(0, disk_bytes / 512));
        case 9:
        case 10:
            return request(input, rig.bench);
        case 11:
            return rig.bench.driver().registers().notify(0);
        case 12:
            return ranges(input, rig.bench);
        default:
            return good_request(input, rig.bench);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    FuzzedDataProvider input(data, size);
    Rig& rig = rig_of(static_cast<Kind>(input.ConsumeIntegralInRange(0, static_cast<int>(Kind::count) - 1)));
    // Without a flush every write is one that lasts.
    const std::uint64_t features = input.ConsumeBool() ? ~std::uint64_t{0} : ~(std::uint64_t{1} << VIRTIO_BLK_F_FLUSH);
    PENUMBRA_ASSERT(rig.bench.driver().registers().reset() && rig.bench.start(features), "a reset disk does not start");
    swap_some_out(input, rig.machine);
    for (unsigned i = 0; i < 60 && input.remaining_bytes() > 0; ++i) step(input, rig);
    rig.bench.driver().kick(0);
    let_work(rig.bench);
    PENUMBRA_ASSERT(rig.bench.driver().registers().reset(), "a disk that does not reset");
    if (rig.cut) rig.set_file_bytes(disk_bytes);
    PENUMBRA_ASSERT(rig.bench.start(), "a reset disk does not start");
    const std::uint8_t status = rig.bench.run({VIRTIO_BLK_T_IN, 0, {device_writes(high, 512)}});
    PENUMBRA_ASSERT(status == VIRTIO_BLK_S_OK, "the disk does not read after a reset");
    PENUMBRA_ASSERT(rig.file_bytes() == disk_bytes, "the disk's file has another size");
    PENUMBRA_ASSERT(rig.machine.window().violations() == 0, "the window was changed against its contract");
    rig.swapped.note(rig.machine.service());
    return 0;
}
