// An echo device behind either transport, with a driver: all that a test of queues and transports needs.
#pragma once

#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "tests/support/dma_loop.hpp"
#include "tests/support/echo_device.hpp"
#include "tests/support/fake_dma_machine.hpp"
#include "tests/support/virtio_driver.hpp"
#include "vmm/devices/virtio/virtio_mmio.hpp"
#include "vmm/devices/virtio/virtio_pci.hpp"

namespace penumbra::test {

/// The same for the same seed.
[[nodiscard]] inline std::vector<std::byte> random_bytes(std::size_t bytes, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::vector<std::byte> made(bytes);
    for (std::byte& byte : made) byte = static_cast<std::byte>(random());
    return made;
}

[[nodiscard]] inline std::vector<std::byte> bytes_of(GuestView& memory, Gpa from, std::size_t bytes) {
    std::vector<std::byte> seen(bytes);
    memory.read(from, seen);
    return seen;
}

enum class Over : std::uint8_t { mmio, pci };

class EchoMachine {
public:
    static constexpr Gpa mmio_base{0xD010'0000};
    static constexpr std::uint32_t mmio_line = 5;
    static constexpr Gpa pci_window{0xC000'0000};
    static constexpr unsigned pci_slot = 3;
    /// Rings go to the low slot, buffers to the high one.
    static constexpr Gpa rings{FakeDmaMachine::low_first.value() << page_shift};
    static constexpr Gpa buffers{FakeDmaMachine::high_first.value() << page_shift};

    explicit EchoMachine(Over over, const EchoOptions& options = {})
        : device_(machine_.service(), loop_, options), memory_(machine_) {
        if (over == Over::mmio) {
            mmio_.emplace(device_, vmm::VirtioMmio::Place{mmio_base, vmm::Gsi{mmio_line}, 1}, interrupts_, &doorbells_);
            registers_ = std::make_unique<MmioRegisters>(*mmio_, mmio_base, &doorbells_);
        } else {
            pci_.emplace(device_, interrupts_, &doorbells_);
            bus_.emplace(vmm::PciBus::Window{pci_window, 0x1000'0000}, nullptr);
            bus_->add(pci_slot, *pci_);
            bus_->power_on();
            registers_ = std::make_unique<PciRegisters>(*bus_, pci_window, pci_slot, &doorbells_);
        }
        driver_.emplace(memory_, *registers_);
        loop_.start();
    }
    ~EchoMachine() {
        transport().release_waiters();
        machine_.slow().let_go();
        loop_.stop();
    }
    EchoMachine(const EchoMachine&) = delete;
    EchoMachine& operator=(const EchoMachine&) = delete;

    [[nodiscard]] FakeDmaMachine& machine() { return machine_; }
    [[nodiscard]] vmm::IoLoop& loop() { return loop_; }
    [[nodiscard]] FakeInterrupts& interrupts() { return interrupts_; }
    [[nodiscard]] FakeDoorbells& doorbells() { return doorbells_; }
    [[nodiscard]] EchoDevice& device() { return device_; }
    [[nodiscard]] GuestView& memory() { return memory_; }
    [[nodiscard]] VirtioRegisters& registers() { return *registers_; }
    [[nodiscard]] PciRegisters& pci_registers() { return static_cast<PciRegisters&>(*registers_); }
    [[nodiscard]] VirtioDriver& driver() { return *driver_; }
    [[nodiscard]] vmm::PciBus& bus() { return *bus_; }
    [[nodiscard]] vmm::VirtioTransport& transport() {
        return mmio_ ? static_cast<vmm::VirtioTransport&>(*mmio_) : static_cast<vmm::VirtioTransport&>(*pci_);
    }

    /// Returns once the loop has run everything that was posted before.
    void sync() {
        std::promise<void> ran;
        loop_.post([&ran] { ran.set_value(); });
        ran.get_future().get();
    }

private:
    FakeDmaMachine machine_;
    vmm::IoLoop loop_{"echo"};
    FakeInterrupts interrupts_;
    FakeDoorbells doorbells_;
    EchoDevice device_;
    GuestView memory_;
    std::optional<vmm::VirtioMmio> mmio_;
    std::optional<vmm::VirtioPci> pci_;
    std::optional<vmm::PciBus> bus_;
    std::unique_ptr<VirtioRegisters> registers_;
    std::optional<VirtioDriver> driver_;
};

}  // namespace penumbra::test
