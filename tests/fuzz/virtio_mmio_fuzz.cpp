// A hostile guest at a virtio device's registers in memory: any accesses, configuration, resets at any moment, rings
// half set up, while pages leave. Nothing may crash or hang, and a reset mends everything.
//
// covers: vmm/devices/virtio/virtio_mmio.cpp vmm/devices/virtio/virtio_transport.cpp
// covers: vmm/devices/virtio/virtio_config.cpp vmm/devices/virtio/virtio_device.cpp
// leaves: vmm/devices/virtio/trouble_log.cpp: the rate of complaints, by the host's clock
#include <fuzzer/FuzzedDataProvider.h>

#include <array>
#include <future>

#include "base/assert.hpp"
#include "tests/fuzz/swapped.hpp"
#include "tests/support/echo_machine.hpp"

namespace {

using namespace penumbra;
using namespace penumbra::test;

constexpr std::uint16_t queue_size = 16;

std::uint64_t some_value(FuzzedDataProvider& input) {
    constexpr std::array<std::uint64_t, 10> telling{0, 1, 2, 3, 7, 11, 15, queue_size, 0x10000, 0xFFFF'FFFF};
    return input.ConsumeBool() ? input.PickValueInArray(telling) : input.ConsumeIntegral<std::uint64_t>();
}

void access(FuzzedDataProvider& input, MmioRegisters& registers) {
    constexpr std::array<unsigned, 26> known{0x000, 0x004, 0x008, 0x00C, 0x010, 0x014, 0x020, 0x024, 0x030,
                                             0x034, 0x038, 0x044, 0x050, 0x060, 0x064, 0x070, 0x080, 0x084,
                                             0x090, 0x094, 0x0A0, 0x0A4, 0x0B0, 0x0BC, 0x0FC, 0x100};
    const unsigned offset = input.PickValueInArray(known);
    if (input.ConsumeBool()) {
        registers.set(offset, static_cast<std::uint32_t>(some_value(input)));
    } else {
        (void)registers.get(offset);
    }
}

/// Of any size, anywhere in the page.
void access_anywhere(FuzzedDataProvider& input, vmm::VirtioTransport& transport) {
    auto& device = dynamic_cast<vmm::Device&>(transport);
    const auto offset = input.ConsumeIntegralInRange<std::uint64_t>(0, page_bytes - 1);
    const unsigned bytes = input.ConsumeIntegralInRange(1U, 8U);
    if (input.ConsumeBool()) {
        device.write(offset, bytes, some_value(input));
    } else {
        (void)device.read(offset, bytes);
    }
}

void use_config(FuzzedDataProvider& input, EchoMachine& machine) {
    const unsigned offset = input.ConsumeIntegralInRange(0U, 2 * unsigned{EchoDevice::config_size});
    const unsigned bytes = input.ConsumeIntegralInRange(1U, 8U);
    if (input.ConsumeBool()) {
        machine.registers().set_config(offset, bytes, some_value(input));
    } else {
        (void)machine.registers().config(offset, bytes);
    }
}

/// Up to a status that fits no order.
void begin(FuzzedDataProvider& input, EchoMachine& machine) {
    VirtioRegisters& registers = machine.registers();
    if (input.ConsumeBool()) registers.set_status(0);
    registers.set_status(input.ConsumeIntegralInRange<std::uint8_t>(0, 3));
    registers.accept(registers.offered() &
                     (input.ConsumeBool() ? ~std::uint64_t{0} : input.ConsumeIntegral<std::uint64_t>()));
    registers.set_status(input.PickValueInArray(std::array<std::uint8_t, 5>{3, 8, 11, 15, 139}));
    for (unsigned queue = 0; queue < 3; ++queue) {
        if (input.ConsumeBool()) {
            registers.set_queue(queue, DriverQueue::place_at(EchoMachine::rings + queue * 8 * page_bytes, queue_size));
        }
    }
    registers.set_status(input.PickValueInArray(std::array<std::uint8_t, 3>{15, 4, 143}));
}

void use(FuzzedDataProvider& input, EchoMachine& machine, unsigned queues) {
    const unsigned queue = input.ConsumeIntegralInRange(0U, queues - 1);
    const Gpa at = EchoMachine::buffers + input.ConsumeIntegralInRange<std::uint64_t>(0, 0x8000);
    const std::array chain{device_reads(at, 100), device_writes(at + 5000, 100)};
    if (machine.driver().queue(queue).add(chain)) machine.driver().kick(queue);
}

void pause(EchoMachine& machine) {
    std::promise<void> quiet;
    machine.device().pause([&] { quiet.set_value(); });
    quiet.get_future().get();
}

/// With I/O in flight: others want the device quiet meanwhile, or want it back.
void pause_while_busy(EchoMachine& machine) {
    machine.device().stay_busy();
    machine.device().pause([] {});
    machine.device().pause([] {});
    machine.device().resume();
    machine.device().settle();
    machine.sync();
}

void step(FuzzedDataProvider& input, EchoMachine& machine, unsigned queues) {
    auto& registers = static_cast<MmioRegisters&>(machine.registers());
    switch (input.ConsumeIntegralInRange(0, 15)) {
        case 0:
            return access_anywhere(input, machine.transport());
        case 1:
            return swap_some_out(input, machine.machine());
        case 2:
            return use_config(input, machine);
        case 3:
            return begin(input, machine);
        case 4:
            return pause(machine);
        case 5:
            return machine.device().resume();
        case 6:
            machine.device().set_config(input.ConsumeIntegralInRange<std::size_t>(0, EchoDevice::config_size - 1), 1);
            return;
        case 7:
            if (input.ConsumeBool()) machine.device().break_down();
            return machine.sync();
        case 8:
            (void)machine.driver().start(EchoMachine::rings, queue_size);
            return;
        case 9:
        case 10:
            return use(input, machine, queues);
        case 11:
            return pause_while_busy(machine);
        default:
            return access(input, registers);
    }
}

/// One queue has a doorbell, several have none.
EchoMachine& machine_with(unsigned queues) {
    static EchoMachine one(Over::mmio, {.queues = 1, .queue_size = queue_size});
    static EchoMachine two(Over::mmio, {.queues = 2, .queue_size = queue_size});
    return queues == 1 ? one : two;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    FuzzedDataProvider input(data, size);
    static SwappedMemory swapped_one("virtio_mmio_fuzz, one queue");
    static SwappedMemory swapped_two("virtio_mmio_fuzz, two queues");
    const unsigned queues = input.ConsumeIntegralInRange(1U, 2U);
    EchoMachine& machine = machine_with(queues);
    PENUMBRA_ASSERT(machine.driver().start(EchoMachine::rings, queue_size), "a good driver is refused");
    swap_some_out(input, machine.machine());
    for (unsigned i = 0; i < 100 && input.remaining_bytes() > 0; ++i) step(input, machine, queues);

    machine.device().resume();
    PENUMBRA_ASSERT(machine.driver().start(EchoMachine::rings, queue_size), "a reset did not help");
    (void)machine.driver().submit(0, {device_writes(EchoMachine::buffers, 8)});
    PENUMBRA_ASSERT(machine.driver().wait(0).has_value(), "the device does not work any more");
    PENUMBRA_ASSERT(machine.device().taken_at_a_wrong_time() == 0, "a chain came while the device was quiet");
    PENUMBRA_ASSERT(machine.machine().window().violations() == 0, "the window was changed against its contract");
    (queues == 1 ? swapped_one : swapped_two).note(machine.machine().service());
    return 0;
}
