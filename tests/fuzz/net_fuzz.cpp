// A hostile driver at a network card, and a careless host behind it: any chains, headers, lengths and lives, while
// pages leave. Nothing may crash or hang, and no frame may reach the host that breaks the rules.
#include <fuzzer/FuzzedDataProvider.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/assert.hpp"
#include "tests/support/fake_dma_machine.hpp"
#include "tests/support/net_bench.hpp"
#include "vmm/devices/net/net_headers.hpp"

namespace {

using namespace penumbra;
using test::FakeDmaMachine;
using test::NetBench;

/// RAM with the rings and slots, other RAM, its edges, none, anything.
Gpa some_address(FuzzedDataProvider& input) {
    const auto offset = input.ConsumeIntegralInRange<std::uint64_t>(0, FakeDmaMachine::slot_pages * page_bytes);
    switch (input.ConsumeIntegralInRange(0, 9)) {
        case 0:
            return Gpa{input.ConsumeIntegral<std::uint64_t>()};
        case 1:
            return address_of(FakeDmaMachine::hole);
        case 2:
            return address_of(FakeDmaMachine::low_first) + offset;
        default:
            return address_of(FakeDmaMachine::high_first) + offset;
    }
}

std::uint32_t some_length(FuzzedDataProvider& input) {
    constexpr std::array<std::uint32_t, 12> telling{0, 1, 11, 12, 13, 25, 26, 1514, 4096, 65566, 65567, 0xFFFF'FFFF};
    return input.ConsumeBool() ? input.PickValueInArray(telling) : input.ConsumeIntegralInRange(0U, 9000U);
}

vmm::NetHeader some_header(FuzzedDataProvider& input) {
    vmm::NetHeader header;
    header.flags = input.ConsumeIntegralInRange<std::uint8_t>(0, 4);
    constexpr std::array<std::uint8_t, 6> types{0, 1, 3, 4, 5, 0x81};
    header.gso_type = input.PickValueInArray(types);
    header.header_bytes = input.ConsumeIntegral<std::uint16_t>();
    header.gso_size = input.ConsumeIntegral<std::uint16_t>();
    header.csum_start = input.ConsumeIntegralInRange<std::uint16_t>(0, 2000);
    header.csum_offset = input.ConsumeIntegralInRange<std::uint16_t>(0, 100);
    header.num_buffers = input.ConsumeIntegral<std::uint16_t>();
    return header;
}

/// A chain of up to four descriptors, well linked or not.
void put_chain(FuzzedDataProvider& input, NetBench& bench) {
    const unsigned number = input.ConsumeIntegralInRange(0U, 1U);
    test::DriverQueue& queue = bench.driver().queue(number);
    const auto head = input.ConsumeIntegralInRange<std::uint16_t>(0, queue.size());
    const bool honest = input.ConsumeIntegralInRange(0, 7) != 0;
    for (unsigned left = input.ConsumeIntegralInRange(1U, 4U), i = head; left > 0; --left, ++i) {
        const auto flags = static_cast<std::uint16_t>((left > 1 ? 1 : 0) | (number == NetBench::rx ? 2 : 0));
        queue.put_descriptor(
            static_cast<std::uint16_t>(i % queue.size()),
            {some_address(input).value(), some_length(input), honest ? flags : input.ConsumeIntegral<std::uint16_t>(),
             static_cast<std::uint16_t>((i + 1) % queue.size())});
    }
    queue.push_head(head);
    bench.driver().kick(number);
}

void send_sensibly(FuzzedDataProvider& input, NetBench& bench) {
    const Gpa at = address_of(FakeDmaMachine::high_first) + input.ConsumeIntegralInRange<std::uint64_t>(0, page_bytes);
    bench.memory().put(at, some_header(input));
    if (bench.driver().queue(NetBench::tx).add({test::device_reads(at, some_length(input) % 70'000)})) {
        bench.driver().kick(NetBench::tx);
    }
}

void step(FuzzedDataProvider& input, FakeDmaMachine& machine, NetBench& bench) {
    switch (input.ConsumeIntegralInRange(0, 11)) {
        case 0:
            bench.pause();
            break;
        case 1:
            bench.resume();
            break;
        case 2:
            machine.evict_all();
            break;
        case 3:
            (void)bench.driver().registers().reset();
            (void)bench.start(input.ConsumeIntegral<std::uint32_t>() | ~std::uint64_t{0xFFFF'FFFF}, 16);
            break;
        case 4:
            bench.link().take_only(input.ConsumeIntegralInRange(0U, 3U));
            break;
        case 5:
            bench.link().take_all();
            break;
        case 6:
            bench.sync();
            break;
        case 7:
        case 8: {
            const std::size_t bytes = input.ConsumeIntegralInRange<std::size_t>(14, 5000);
            bench.link().put({some_header(input), std::vector<std::byte>(bytes)});
            break;
        }
        case 9:
            send_sensibly(input, bench);
            break;
        default:
            put_chain(input, bench);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    FuzzedDataProvider input(data, size);
    FakeDmaMachine machine;
    const bool offloads = input.ConsumeBool();
    NetBench bench(machine, address_of(FakeDmaMachine::low_first),
                   test::FakeLink::Options{.offloads = offloads ? vmm::net_feature::offloads : 0, .mtu = 1500});
    if (!bench.start(test::VirtioDriver::all_features, 16)) return 0;
    for (unsigned i = 0; i < 60 && input.remaining_bytes() > 0; ++i) step(input, machine, bench);
    bench.resume();
    bench.sync();
    const std::uint64_t most = offloads ? vmm::net_feature::offloads : 0;
    for (const test::Frame& frame : bench.link().sent()) {
        PENUMBRA_ASSERT(vmm::check_transmit(frame.header, frame.bytes.size(), most) == vmm::HeaderCheck::sound,
                        "a frame that breaks the rules reached the host");
    }
    PENUMBRA_ASSERT(bench.link().calls_while_paused() == 0, "frames moved during a pause");
    PENUMBRA_ASSERT(machine.window().violations() == 0, "the window was changed against its contract");
    return 0;
}
