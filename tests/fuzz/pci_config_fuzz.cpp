// A hostile guest at a PCI device: configuration through ECAM and ports, BARs that move, message interrupts, virtio's
// registers. Nothing may crash or hang, doorbells follow the BAR, and a reset mends everything.
//
// covers: vmm/devices/pci/msix.cpp vmm/devices/pci/pci_bus*.cpp vmm/devices/pci/pci_config.cpp
// covers: vmm/devices/virtio/virtio_pci*.cpp
// leaves: vmm/devices/pci/pci_config_shape.cpp: what a function has, said by its device model
#include <fuzzer/FuzzedDataProvider.h>

#include <array>

#include "base/assert.hpp"
#include "tests/fuzz/swapped.hpp"
#include "tests/support/echo_machine.hpp"

namespace {

using namespace penumbra;
using namespace penumbra::test;

std::uint64_t some_value(FuzzedDataProvider& input) {
    constexpr std::array<std::uint64_t, 10> telling{0,           1,           2,           6,      0x8000,
                                                    0xC000'0000, 0xC001'0000, 0xCFFF'F000, 0xFFFF, ~std::uint64_t{0}};
    return input.ConsumeBool() ? input.PickValueInArray(telling) : input.ConsumeIntegral<std::uint64_t>();
}

void access(FuzzedDataProvider& input, vmm::Device& device, std::uint64_t offset, unsigned bytes) {
    if (input.ConsumeBool()) {
        device.write(offset, bytes, some_value(input));
    } else {
        (void)device.read(offset, bytes);
    }
}

unsigned some_size(FuzzedDataProvider& input) {
    constexpr std::array<unsigned, 5> sizes{1, 2, 4, 4, 8};
    return input.ConsumeIntegralInRange(0, 15) == 0 ? input.ConsumeIntegralInRange(1U, 8U)
                                                    : input.PickValueInArray(sizes);
}

/// Through VIRTIO_PCI_CAP_PCI_CFG, mostly aimed at something.
void access_configured(FuzzedDataProvider& input, EchoMachine& machine) {
    PciRegisters& registers = machine.pci_registers();
    const unsigned capability = registers.structure(5).capability;
    const std::uint32_t page = 0x1000 * input.ConsumeIntegralInRange(0U, 4U);
    registers.set_config_space(capability + 4, 1, input.ConsumeIntegralInRange(0U, 7U) % 3);
    registers.set_config_space(capability + 8, 4, page + input.ConsumeIntegralInRange(0U, 0x40U));
    registers.set_config_space(capability + 12, 4, some_size(input));
    const std::uint64_t data = (std::uint64_t{EchoMachine::pci_slot} << 15) + capability + 16;
    access(input, machine.bus().ecam(), data, 4);
}

/// Its driver goes on, where it still can.
void use(FuzzedDataProvider& input, EchoMachine& machine) {
    PciRegisters& registers = machine.pci_registers();
    const bool answers = (registers.config_space(4, 2) & vmm::pci::command_memory) != 0;
    if (!answers || registers.bar(0) != EchoMachine::pci_window) return;
    if (registers.bar(1) < EchoMachine::pci_window) return;
    if (input.ConsumeBool()) {
        if (!machine.driver().start(EchoMachine::rings, 16)) return;
        if (input.ConsumeBool()) registers.use_messages();
    }
    const unsigned queue = input.ConsumeIntegralInRange(0U, 1U);
    const Gpa at = EchoMachine::buffers + input.ConsumeIntegralInRange<std::uint64_t>(0, 0x8000);
    const std::array chain{device_reads(at, 100), device_writes(at + 5000, 100)};
    if (machine.driver().queue(queue).add(chain)) machine.driver().kick(queue);
}

/// Interrupts on and off, by each of the ways.
void mask_interrupts(FuzzedDataProvider& input, EchoMachine& machine) {
    PciRegisters& registers = machine.pci_registers();
    switch (input.ConsumeIntegralInRange(0, 2)) {
        case 0:
            registers.set_config_space(
                4, 2, vmm::pci::command_memory | (input.ConsumeBool() ? vmm::pci::command_no_intx : 0));
            break;
        case 1:
            registers.set_config_space(registers.msix_capability() + 2, 2, input.ConsumeIntegralInRange(0U, 3U) << 14);
            break;
        default: {
            const unsigned vector = input.ConsumeIntegralInRange(0U, 3U);
            machine.bus().window().write(0x4000 + 16 * vector + 12, 4, input.ConsumeIntegralInRange(0U, 1U));
            (void)machine.bus().window().read(0x4800, input.ConsumeBool() ? 4 : 8);
        }
    }
    (void)registers.config_space(6, 2);
}

void step(FuzzedDataProvider& input, EchoMachine& machine) {
    const unsigned size = some_size(input);
    const std::uint64_t slot = std::uint64_t{EchoMachine::pci_slot} << 15;
    switch (input.ConsumeIntegralInRange(0, 14)) {
        case 0:
        case 1: {
            const std::uint64_t most = input.ConsumeIntegralInRange(0, 7) == 0 ? 0xFFF : 0xB0;
            return access(input, machine.bus().ecam(), slot + input.ConsumeIntegralInRange<std::uint64_t>(0, most),
                          size);
        }
        case 2:
            return access(input, machine.bus().ecam(),
                          input.ConsumeIntegralInRange<std::uint64_t>(0, vmm::PciBus::ecam_bytes - 8), size);
        case 3: {
            const unsigned offset = input.ConsumeIntegralInRange(0U, 7U);
            return access(input, machine.bus().config_ports(), offset, std::min({size, 8 - offset, 4U}));
        }
        case 4: {
            // BAR 0's registers, where they are after power-on.
            const std::uint64_t page = input.ConsumeIntegralInRange<std::uint64_t>(0, 4) * page_bytes;
            return access(input, machine.bus().window(), page + input.ConsumeIntegralInRange<std::uint64_t>(0, 0x48),
                          size);
        }
        case 5: {
            const std::uint64_t table = 0x4000 + (input.ConsumeBool() ? 0x800 : 0);
            return access(input, machine.bus().window(), table + input.ConsumeIntegralInRange<std::uint64_t>(0, 64),
                          size);
        }
        case 6:
            return access(input, machine.bus().window(),
                          input.ConsumeIntegralInRange<std::uint64_t>(0, 0x1000'0000 - 8), size);
        case 7:
            return access_configured(input, machine);
        case 8:
            return swap_some_out(input, machine.machine());
        case 9:
            return use(input, machine);
        case 10: {
            // The common registers, each by its own size, over and over.
            constexpr std::array<std::array<unsigned, 2>, 20> registers{
                {{0x00, 4}, {0x04, 4}, {0x08, 4}, {0x0C, 4}, {0x10, 2}, {0x12, 2}, {0x14, 1},
                 {0x15, 1}, {0x16, 2}, {0x18, 2}, {0x1A, 2}, {0x1C, 2}, {0x1E, 2}, {0x20, 4},
                 {0x24, 4}, {0x28, 4}, {0x2C, 8}, {0x30, 8}, {0x34, 4}, {0x38, 4}}};
            const auto [offset, bytes] = input.PickValueInArray(registers);
            return access(input, machine.bus().window(), offset, bytes);
        }
        case 11: {
            // The address register and the data behind it, as a guest uses them.
            const std::uint32_t function =
                input.ConsumeBool() ? EchoMachine::pci_slot : input.ConsumeIntegral<std::uint8_t>();
            const std::uint32_t offset = input.ConsumeIntegralInRange(0U, 0xFFU);
            machine.bus().config_ports().write(0, 4, 0x8000'0000U | function << 11 | offset);
            return access(input, machine.bus().config_ports(), 4 + input.ConsumeIntegralInRange(0U, 3U), size);
        }
        case 12:
        case 13:
            return mask_interrupts(input, machine);
        default:
            machine.device().set_config(0, 1);
            if (input.ConsumeBool()) machine.device().break_down();
            return machine.sync();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    FuzzedDataProvider input(data, size);
    static EchoMachine machine(Over::pci);
    static const bool started = machine.driver().start(EchoMachine::rings, 16);
    static SwappedMemory swapped("pci_config_fuzz");
    PENUMBRA_ASSERT(started, "a good driver is refused");
    machine.bus().power_on();
    if (input.ConsumeBool()) {
        PENUMBRA_ASSERT(machine.driver().start(EchoMachine::rings, 16), "a good driver is refused");
        if (input.ConsumeBool()) machine.pci_registers().use_messages();
    }
    swap_some_out(input, machine.machine());
    for (unsigned i = 0; i < 200 && input.remaining_bytes() > 0; ++i) step(input, machine);

    // Doorbells are where the BAR is, or nowhere.
    PciRegisters& registers = machine.pci_registers();
    const bool decoding = (registers.config_space(4, 2) & vmm::pci::command_memory) != 0;
    for (const FakeDoorbells::Bound& bound : machine.doorbells().bound()) {
        PENUMBRA_ASSERT(decoding && bound.at.value() - registers.bar(0).value() - 0x3000 <= 4,
                        "a doorbell was left behind");
    }
    PENUMBRA_ASSERT(machine.doorbells().wrong_unbinds() == 0, "a doorbell was unbound that was not bound");
    machine.bus().power_on();
    PENUMBRA_ASSERT(machine.driver().start(EchoMachine::rings, 16), "a reset did not help");
    (void)machine.driver().submit(0, {device_writes(EchoMachine::buffers, 8)});
    PENUMBRA_ASSERT(machine.driver().wait(0).has_value(), "the device does not work any more");
    swapped.note(machine.machine().service());
    return 0;
}
