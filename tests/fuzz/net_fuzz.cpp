// A hostile driver at a network card, and a careless host behind it: any chains, headers, lengths and lives, while
// pages leave. Nothing may crash or hang, and no frame may reach the host that breaks the rules.
//
// covers: vmm/devices/virtio/net.cpp vmm/devices/virtio/net_copy.cpp vmm/devices/virtio/net_receive.cpp
// covers: vmm/devices/virtio/net_transmit.cpp vmm/devices/net/net_headers.cpp
// leaves: vmm/devices/virtio/net_config.cpp: made of the link
// leaves: vmm/devices/virtio/net_counters.cpp: names of counters
// leaves: vmm/devices/virtio/net_setup.cpp: made of the host's options
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/assert.hpp"
#include "tests/fuzz/swapped.hpp"
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

vmm::NetHeader any_header(FuzzedDataProvider& input) {
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

/// As a driver with offloads writes it, but for one field at most.
vmm::NetHeader some_header(FuzzedDataProvider& input) {
    if (input.ConsumeIntegralInRange(0, 3) == 0) return any_header(input);
    vmm::NetHeader header;
    if (input.ConsumeBool()) return header;
    constexpr std::array<std::uint8_t, 5> types{vmm::NetHeader::gso_none, vmm::NetHeader::gso_tcp4,
                                                vmm::NetHeader::gso_tcp6,
                                                vmm::NetHeader::gso_tcp4 | vmm::NetHeader::gso_ecn, 3};
    header.flags = vmm::NetHeader::needs_csum;
    header.csum_start = 34;
    header.csum_offset = 16;
    header.gso_type = input.PickValueInArray(types);
    header.gso_size = 1448;
    header.header_bytes = 54;
    switch (input.ConsumeIntegralInRange(0, 7)) {
        case 0:
            header.flags = 0;
            break;
        case 1:
            header.csum_start = 60'000;
            break;
        case 2:
            header.gso_size = 0;
            break;
        case 3:
            header.header_bytes = 0xFFFF;
            break;
        default:
            break;
    }
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
    const Gpa at =
        address_of(FakeDmaMachine::high_first) + input.ConsumeIntegralInRange<std::uint64_t>(0, 32 * page_bytes);
    vmm::NetHeader header = some_header(input);
    if (input.ConsumeBool()) header = {};
    bench.memory().put(at, header);
    const std::uint32_t bytes = some_length(input) % 70'000;
    const std::uint32_t first = std::min(bytes, input.ConsumeIntegralInRange(1U, 5000U));
    std::vector<test::Buffer> chain{test::device_reads(at, first)};
    if (bytes > first) chain.push_back(test::device_reads(at + first, bytes - first));
    if (bench.driver().queue(NetBench::tx).add(std::span(chain)) && input.ConsumeBool()) {
        bench.driver().kick(NetBench::tx);
    }
}

/// Buffers for frames that are large enough or too small, and in RAM.
void give_buffers(FuzzedDataProvider& input, NetBench& bench) {
    constexpr std::array<std::uint32_t, 6> sizes{12, 64, 1526, 4096, 9000, 70'000};
    const std::uint32_t bytes = input.PickValueInArray(sizes);
    test::DriverQueue& queue = bench.driver().queue(NetBench::rx);
    for (auto left = input.ConsumeIntegralInRange(1U, 16U); left > 0; --left) {
        const Gpa at =
            address_of(FakeDmaMachine::high_first) + input.ConsumeIntegralInRange<std::uint64_t>(0, 32 * page_bytes);
        if (!queue.add({test::device_writes(at, bytes)})) break;
    }
    bench.driver().kick(NetBench::rx);
}

void step(FuzzedDataProvider& input, FakeDmaMachine& machine, NetBench& bench) {
    switch (input.ConsumeIntegralInRange(0, 15)) {
        case 0:
            bench.pause();
            break;
        case 1:
            bench.resume();
            break;
        case 2:
            test::swap_some_out(input, machine);
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
            vmm::NetHeader header = some_header(input);
            // What a link does with what the card's driver cannot take.
            if (vmm::fit_receive(header, bench.driver().features()) == vmm::HeaderCheck::unsound) header = {};
            bench.link().put({header, std::vector<std::byte>(bytes)});
            break;
        }
        case 9:
        case 10:
            send_sensibly(input, bench);
            break;
        case 11:
        case 12:
            give_buffers(input, bench);
            break;
        case 13:
            bench.link().go_down();
            break;
        default:
            put_chain(input, bench);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    FuzzedDataProvider input(data, size);
    static FakeDmaMachine machine;
    static test::SwappedMemory swapped("net_fuzz");
    const bool offloads = input.ConsumeBool();
    const std::uint16_t mtu = input.ConsumeBool() ? 1500 : 0;
    NetBench bench(machine, address_of(FakeDmaMachine::low_first),
                   test::FakeLink::Options{.offloads = offloads ? vmm::net_feature::offloads : 0, .mtu = mtu});
    PENUMBRA_ASSERT(bench.start(test::VirtioDriver::all_features, 16), "a good driver is refused");
    test::swap_some_out(input, machine);
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
    swapped.note(machine.service());
    return 0;
}
