// A hostile driver at a disk: any chains, any requests, any ring contents, over memory of which part is swapped out.
// Nothing may crash, hang, or change the file's size; after a reset the disk works.
#include <fuzzer/FuzzedDataProvider.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <vector>

#include "base/assert.hpp"
#include "tests/support/block_bench.hpp"
#include "tests/support/fake_dma_machine.hpp"

namespace {

using namespace penumbra;
using namespace penumbra::test;

constexpr std::uint64_t disk_bytes = 1U << 18;
constexpr Gpa low = address_of(FakeDmaMachine::low_first);
constexpr Gpa high = address_of(FakeDmaMachine::high_first);
constexpr std::uint64_t slot_bytes = FakeDmaMachine::slot_pages * page_bytes;

struct Rig {
    /// A fuzzer ends without destructors: the file goes at once, and lives on as the disk's.
    Rig() { ::unlink(image.path().c_str()); }
    [[nodiscard]] std::uint64_t file_bytes() {
        struct stat status{};
        PENUMBRA_ASSERT(::fstat(bench.device().file().fd(), &status) == 0, "the disk's file is gone");
        return static_cast<std::uint64_t>(status.st_size);
    }

    FakeDmaMachine machine;
    DiskImage image{disk_bytes};
    BlockBench bench{machine, image.options(), low};
};

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
    if (bench.driver().queue(0).add(chain)) bench.driver().kick(0);
}

void ranges(FuzzedDataProvider& input, BlockBench& bench) {
    const Gpa header = high + input.ConsumeIntegralInRange<std::uint64_t>(0, slot_bytes / 2);
    const auto type = input.ConsumeBool() ? VIRTIO_BLK_T_DISCARD : VIRTIO_BLK_T_WRITE_ZEROES;
    bench.memory().put(header, virtio_blk_outhdr{static_cast<std::uint32_t>(type), 0, 0});
    const auto count = input.ConsumeIntegralInRange(0U, 33U);
    for (unsigned i = 0; i < count; ++i) {
        const auto sectors =
            input.ConsumeBool() ? input.ConsumeIntegralInRange(0U, 64U) : input.ConsumeIntegral<std::uint32_t>();
        const auto flags = input.ConsumeIntegralInRange(0U, 3U) & 1;
        bench.memory().put(header + 16 + 16 * std::uint64_t{i},
                           virtio_blk_discard_write_zeroes{some_sector(input), sectors, flags});
    }
    if (bench.driver().queue(0).add({device_reads(header, 16 + 16 * count), device_writes(header + 1024, 1)})) {
        bench.driver().kick(0);
    }
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
    switch (input.ConsumeIntegralInRange(0, 9)) {
        case 0:
            return rig.machine.evict_all();
        case 1:
            (void)rig.machine.evict(GfnRange{FakeDmaMachine::high_first + input.ConsumeIntegralInRange(0U, 31U),
                                             input.ConsumeIntegralInRange(1U, 32U)});
            return;
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
        default:
            return request(input, rig.bench);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    FuzzedDataProvider input(data, size);
    // One machine for all inputs, for speed; each begins with a device that was reset and memory that is paged out.
    static Rig rig;
    PENUMBRA_ASSERT(rig.bench.driver().registers().reset() && rig.bench.start(), "a reset disk does not start");
    rig.machine.evict_all();
    for (unsigned i = 0; i < 60 && input.remaining_bytes() > 0; ++i) step(input, rig);
    let_work(rig.bench);
    PENUMBRA_ASSERT(rig.bench.driver().registers().reset() && rig.bench.start(), "a reset disk does not start");
    const std::uint8_t status = rig.bench.run({VIRTIO_BLK_T_IN, 0, {device_writes(high, 512)}});
    PENUMBRA_ASSERT(status == VIRTIO_BLK_S_OK, "the disk does not read after a reset");
    PENUMBRA_ASSERT(rig.file_bytes() == disk_bytes, "the disk's file has another size");
    PENUMBRA_ASSERT(rig.machine.window().violations() == 0, "the window was changed against its contract");
    return 0;
}
