// A hostile driver: any bytes as rings, descriptors and indirect tables, while pages leave. Nothing may crash, hang, or
// take more chains than a queue holds.
//
// covers: vmm/devices/virtio/virtqueue*.cpp vmm/devices/virtio/chain_parser.cpp vmm/devices/virtio/segments.cpp
// covers: vmm/devices/virtio/page_wishes.cpp
#include <fuzzer/FuzzedDataProvider.h>
#include <sched.h>

#include <array>
#include <future>
#include <vector>

#include "base/assert.hpp"
#include "tests/fuzz/swapped.hpp"
#include "tests/support/echo_machine.hpp"

namespace {

using namespace penumbra;
using namespace penumbra::test;

constexpr std::uint16_t queue_size = 16;
constexpr std::uint64_t ram_pages = FakeDmaMachine::slot_pages;

/// Addresses in RAM, at its edges, and anywhere.
std::uint64_t some_address(FuzzedDataProvider& input) {
    const auto offset = input.ConsumeIntegralInRange<std::uint64_t>(0, (ram_pages + 1) * page_bytes);
    switch (input.ConsumeIntegralInRange(0, 7)) {
        case 0:
            return input.ConsumeBool() ? input.ConsumeIntegral<std::uint64_t>()
                                       : ~std::uint64_t{input.ConsumeIntegral<std::uint16_t>()};
        case 1:
            return address_of(FakeDmaMachine::low_first).value() + offset;
        default:
            // Few pages, so that tables and buffers meet.
            return EchoMachine::buffers.value() + offset % (3 * page_bytes);
    }
}

DriverQueue::Descriptor some_descriptor(FuzzedDataProvider& input) {
    DriverQueue::Descriptor descriptor;
    descriptor.address = some_address(input);
    constexpr std::array<std::uint32_t, 4> telling{0, 1, 0x8000'0000, 0xFFFF'FFFF};
    descriptor.length = input.ConsumeIntegralInRange(0, 7) == 0 ? input.PickValueInArray(telling)
                                                                : 16 * input.ConsumeIntegralInRange(0U, 64U);
    descriptor.flags = input.ConsumeIntegralInRange<std::uint16_t>(0, 7);
    descriptor.next = input.ConsumeIntegralInRange<std::uint16_t>(0, queue_size);
    return descriptor;
}

void settle(EchoMachine& machine) {
    machine.sync();
    for (unsigned i = 0; i < 20 && machine.machine().service().pending() > 0; ++i) ::sched_yield();
    machine.sync();
}

/// As a good driver would, so that devices get that far.
void good_chain(FuzzedDataProvider& input, EchoMachine& machine) {
    const auto place = [&] { return EchoMachine::buffers + input.ConsumeIntegralInRange<std::uint64_t>(0, 0x7FFF); };
    const auto length = [&] { return input.ConsumeIntegralInRange(1U, 5000U); };
    std::vector<Buffer> chain;
    for (auto left = input.ConsumeIntegralInRange(0U, 3U); left > 0; --left) {
        chain.push_back(device_reads(place(), length()));
    }
    for (auto left = input.ConsumeIntegralInRange(1U, 3U); left > 0; --left) {
        chain.push_back(device_writes(place(), length()));
    }
    DriverQueue& queue = machine.driver().queue(0);
    const auto added = input.ConsumeBool() ? queue.add(std::span(chain)) : queue.add_indirect(chain, place());
    if (added) machine.driver().kick(0);
}

/// Rings anywhere, of any size; or where their parts cross pages.
RingPlace some_place(FuzzedDataProvider& input, RingPlace place) {
    if (input.ConsumeBool()) {
        const Gpa page_end = EchoMachine::buffers + page_bytes * input.ConsumeIntegralInRange<std::uint64_t>(1, 3);
        place.used = Gpa{page_end.value() - 4 * input.ConsumeIntegralInRange<std::uint64_t>(0, 40)};
        place.available = Gpa{page_end.value() + page_bytes - 2 * input.ConsumeIntegralInRange<std::uint64_t>(0, 20)};
        return place;
    }
    (input.ConsumeBool() ? place.available : place.used) = Gpa{some_address(input)};
    constexpr std::array<std::uint16_t, 6> sizes{queue_size, 0, 1, 3, 2 * queue_size, 0x8000};
    place.size = input.PickValueInArray(sizes);
    return place;
}

void pause_and_resume(EchoMachine& machine, bool swap) {
    std::promise<void> quiet;
    machine.device().pause([&] { quiet.set_value(); });
    quiet.get_future().get();
    if (swap) machine.machine().evict_all();
    machine.device().resume();
}

void step(FuzzedDataProvider& input, EchoMachine& machine) {
    DriverQueue& queue = machine.driver().queue(0);
    GuestView& memory = machine.memory();
    switch (input.ConsumeIntegralInRange(0, 15)) {
        case 0:
        case 1:
            queue.put_descriptor(input.ConsumeIntegralInRange<std::uint16_t>(0, queue_size - 1),
                                 some_descriptor(input));
            break;
        case 2: {
            const Gpa table = EchoMachine::buffers + input.ConsumeIntegralInRange<std::uint64_t>(0, 2 * page_bytes);
            const unsigned count = input.ConsumeIntegralInRange(1U, 8U);
            for (unsigned i = 0; i < count; ++i) memory.put(table + 16 * i, some_descriptor(input));
            break;
        }
        case 3:
        case 4:
            queue.push_head(input.ConsumeIntegralInRange<std::uint16_t>(0, queue_size));
            (void)queue.publish();
            machine.registers().notify(0);
            break;
        case 5:
            queue.set_available_index(input.ConsumeIntegral<std::uint16_t>());
            machine.registers().notify(0);
            break;
        case 6: {
            const std::string bytes = input.ConsumeRandomLengthString(64);
            const std::array places{queue.place().descriptors, queue.place().available, queue.place().used,
                                    EchoMachine::buffers};
            const Gpa at = input.PickValueInArray(places) + input.ConsumeIntegralInRange<std::uint64_t>(0, 300);
            memory.write(at, std::as_bytes(std::span{bytes}));
            break;
        }
        case 7:
            swap_some_out(input, machine.machine());
            break;
        case 8:
            settle(machine);
            break;
        case 9:
            machine.device().keep_chains();
            break;
        case 10:
            machine.device().echo_kept();
            break;
        case 11:
            return pause_and_resume(machine, input.ConsumeBool());
        case 12:
        case 13:
        case 14:
            return good_chain(input, machine);
        default: {
            const RingPlace place = some_place(input, queue.place());
            PENUMBRA_ASSERT(machine.driver().negotiate(input.ConsumeBool() ? VirtioDriver::all_features : 0),
                            "a good driver is refused");
            machine.registers().set_queue(0, place);
            machine.registers().set_status(vmm::virtio_status::driver_ok);
            machine.registers().notify(0);
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    FuzzedDataProvider input(data, size);
    // Machines for all inputs, for speed; each input begins with a reset device and zeroes in memory.
    static EchoMachine unordered(Over::mmio, {.queues = 1, .queue_size = queue_size});
    static EchoMachine ordered(Over::mmio,
                               {.delivery = vmm::Delivery::in_order, .queues = 1, .queue_size = queue_size});
    static SwappedMemory swapped("virtqueue_fuzz");
    static SwappedMemory swapped_in_order("virtqueue_fuzz, in order");
    static const std::vector<std::byte> zeroes(3 * page_bytes);
    const bool in_order = input.ConsumeBool();
    EchoMachine& machine = in_order ? ordered : unordered;
    machine.device().echo_kept();
    machine.memory().write(EchoMachine::buffers, zeroes);
    const std::array features{VirtioDriver::all_features, vmm::virtio_feature::event_idx, std::uint64_t{0}};
    PENUMBRA_ASSERT(machine.driver().start(EchoMachine::rings, queue_size, input.PickValueInArray(features)),
                    "a good driver is refused");
    swap_some_out(input, machine.machine());
    for (unsigned i = 0; i < 60 && input.remaining_bytes() > 0; ++i) step(input, machine);
    settle(machine);

    // Whatever happened, a reset mends it.
    machine.device().echo_kept();
    PENUMBRA_ASSERT(machine.driver().start(EchoMachine::rings, queue_size), "a reset did not help");
    (void)machine.driver().submit(0, {device_writes(EchoMachine::buffers, 8)});
    PENUMBRA_ASSERT(machine.driver().wait(0).has_value(), "the device does not work any more");
    PENUMBRA_ASSERT(machine.machine().window().violations() == 0, "the window was changed against its contract");
    (in_order ? swapped_in_order : swapped).note(machine.machine().service());
    return 0;
}
