// A hostile driver: any bytes as rings, descriptors and indirect tables, while pages leave. Nothing may crash, hang, or
// take more chains than a queue holds.
#include <fuzzer/FuzzedDataProvider.h>
#include <sched.h>

#include <array>

#include "base/assert.hpp"
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
            return input.ConsumeIntegral<std::uint64_t>();
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
    descriptor.length = input.ConsumeIntegralInRange(0, 15) == 0 ? input.ConsumeIntegral<std::uint32_t>()
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

void step(FuzzedDataProvider& input, EchoMachine& machine) {
    DriverQueue& queue = machine.driver().queue(0);
    GuestView& memory = machine.memory();
    switch (input.ConsumeIntegralInRange(0, 11)) {
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
            machine.machine().evict_all();
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
        default: {
            RingPlace place = queue.place();
            (input.ConsumeBool() ? place.available : place.used) = Gpa{some_address(input)};
            if (input.ConsumeBool()) place.size = input.ConsumeIntegral<std::uint16_t>();
            PENUMBRA_ASSERT(machine.driver().negotiate(), "a good driver is refused");
            machine.registers().set_queue(0, place);
            machine.registers().set_status(vmm::virtio_status::driver_ok);
            machine.registers().notify(0);
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    FuzzedDataProvider input(data, size);
    // One machine for all inputs, for speed; each begins with a reset device and zeroes in memory.
    static EchoMachine machine(Over::mmio, {.queues = 1, .queue_size = queue_size});
    static const std::vector<std::byte> zeroes(3 * page_bytes);
    machine.device().echo_kept();
    machine.memory().write(EchoMachine::buffers, zeroes);
    const std::array features{VirtioDriver::all_features, vmm::virtio_feature::event_idx, std::uint64_t{0}};
    PENUMBRA_ASSERT(machine.driver().start(EchoMachine::rings, queue_size, input.PickValueInArray(features)),
                    "a good driver is refused");
    for (unsigned i = 0; i < 60 && input.remaining_bytes() > 0; ++i) step(input, machine);
    settle(machine);

    // Whatever happened, a reset mends it.
    machine.device().echo_kept();
    PENUMBRA_ASSERT(machine.driver().start(EchoMachine::rings, queue_size), "a reset did not help");
    (void)machine.driver().submit(0, {device_writes(EchoMachine::buffers, 8)});
    PENUMBRA_ASSERT(machine.driver().wait(0).has_value(), "the device does not work any more");
    PENUMBRA_ASSERT(machine.machine().window().violations() == 0, "the window was changed against its contract");
    return 0;
}
