// A hostile guest at a PCI device: configuration through ECAM and ports, BARs that move, message interrupts, virtio's
// registers. Nothing may crash or hang, doorbells follow the BAR, and a reset mends everything.
#include <fuzzer/FuzzedDataProvider.h>

#include <array>

#include "base/assert.hpp"
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

void step(FuzzedDataProvider& input, EchoMachine& machine) {
    const unsigned size = some_size(input);
    const std::uint64_t slot = std::uint64_t{EchoMachine::pci_slot} << 15;
    switch (input.ConsumeIntegralInRange(0, 8)) {
        case 0:
        case 1:
            return access(input, machine.bus().ecam(), slot + input.ConsumeIntegralInRange<std::uint64_t>(0, 0xB0),
                          size);
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
    machine.bus().power_on();
    if (input.ConsumeBool()) {
        PENUMBRA_ASSERT(machine.driver().start(EchoMachine::rings, 16), "a good driver is refused");
        if (input.ConsumeBool()) machine.pci_registers().use_messages();
    }
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
    return 0;
}
