// A virtio device's registers as its driver uses them, over either transport.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/address.hpp"
#include "tests/support/fake_interrupts.hpp"
#include "vmm/devices/device.hpp"
#include "vmm/devices/pci/pci_bus.hpp"

namespace penumbra::test {

/// Where a driver puts a queue.
struct RingPlace {
    std::uint16_t size = 0;
    Gpa descriptors;
    Gpa available;
    Gpa used;
};

class VirtioRegisters {
public:
    virtual ~VirtioRegisters() = default;

    [[nodiscard]] virtual std::uint32_t device_id() = 0;
    [[nodiscard]] virtual std::uint8_t status() = 0;
    virtual void set_status(std::uint8_t status) = 0;
    [[nodiscard]] virtual std::uint64_t offered() = 0;
    virtual void accept(std::uint64_t features) = 0;
    /// 0: there is no such queue.
    [[nodiscard]] virtual std::uint16_t max_queue_size(unsigned queue) = 0;
    virtual void set_queue(unsigned queue, const RingPlace& place) = 0;
    virtual void notify(unsigned queue) = 0;
    [[nodiscard]] virtual std::uint64_t config(unsigned offset, unsigned bytes) = 0;
    virtual void set_config(unsigned offset, unsigned bytes, std::uint64_t value) = 0;
    [[nodiscard]] virtual std::uint32_t config_generation() = 0;
    /// What interrupted, without message interrupts; acknowledges it.
    virtual std::uint8_t take_isr() = 0;

    /// Writes 0 and waits for it; false when it is not 0 after ten seconds.
    [[nodiscard]] bool reset();
};

class MmioRegisters final : public VirtioRegisters {
public:
    /// `base` tells the doorbells; both may be left out.
    explicit MmioRegisters(vmm::Device& device, Gpa base = Gpa{}, FakeDoorbells* doorbells = nullptr)
        : device_(device), base_(base), doorbells_(doorbells) {}

    [[nodiscard]] std::uint32_t device_id() override { return get(0x008); }
    [[nodiscard]] std::uint8_t status() override { return static_cast<std::uint8_t>(get(0x070)); }
    void set_status(std::uint8_t status) override { set(0x070, status); }
    [[nodiscard]] std::uint64_t offered() override;
    void accept(std::uint64_t features) override;
    [[nodiscard]] std::uint16_t max_queue_size(unsigned queue) override;
    void set_queue(unsigned queue, const RingPlace& place) override;
    void notify(unsigned queue) override;
    [[nodiscard]] std::uint64_t config(unsigned offset, unsigned bytes) override;
    void set_config(unsigned offset, unsigned bytes, std::uint64_t value) override;
    [[nodiscard]] std::uint32_t config_generation() override { return get(0x0FC); }
    std::uint8_t take_isr() override;

    [[nodiscard]] std::uint32_t get(unsigned offset) { return static_cast<std::uint32_t>(device_.read(offset, 4)); }
    void set(unsigned offset, std::uint32_t value) { device_.write(offset, 4, value); }

private:
    vmm::Device& device_;
    Gpa base_;
    FakeDoorbells* doorbells_;
};

/// Finds the device's structures by its capabilities, through ECAM, and uses them through the memory window.
class PciRegisters final : public VirtioRegisters {
public:
    PciRegisters(vmm::PciBus& bus, Gpa window, unsigned slot, FakeDoorbells* doorbells = nullptr);

    [[nodiscard]] std::uint32_t device_id() override { return config_space(2, 2) - 0x1040; }
    [[nodiscard]] std::uint8_t status() override { return static_cast<std::uint8_t>(common(0x14, 1)); }
    void set_status(std::uint8_t status) override { set_common(0x14, 1, status); }
    [[nodiscard]] std::uint64_t offered() override;
    void accept(std::uint64_t features) override;
    [[nodiscard]] std::uint16_t max_queue_size(unsigned queue) override;
    void set_queue(unsigned queue, const RingPlace& place) override;
    void notify(unsigned queue) override;
    [[nodiscard]] std::uint64_t config(unsigned offset, unsigned bytes) override;
    void set_config(unsigned offset, unsigned bytes, std::uint64_t value) override;
    [[nodiscard]] std::uint32_t config_generation() override { return static_cast<std::uint32_t>(common(0x15, 1)); }
    std::uint8_t take_isr() override;

    /// Vector i signals {0xFEE0'0000, i}; vector 0 is the configuration's, 1 + q queue q's.
    void use_messages();

    [[nodiscard]] std::uint32_t config_space(unsigned offset, unsigned bytes);
    void set_config_space(unsigned offset, unsigned bytes, std::uint32_t value);
    [[nodiscard]] std::uint64_t common(unsigned offset, unsigned bytes);
    void set_common(unsigned offset, unsigned bytes, std::uint64_t value);
    /// Reads the capabilities and BARs again: the BARs have moved.
    void look();

    struct Structure {
        std::uint8_t bar = 0;
        std::uint32_t offset = 0;
        std::uint32_t bytes = 0;
        unsigned capability = 0;  ///< where it stands; 0: there is none
    };
    [[nodiscard]] const Structure& structure(unsigned type) const { return structures_[type]; }
    [[nodiscard]] unsigned msix_capability() const { return msix_capability_; }
    [[nodiscard]] Gpa bar(unsigned number);
    [[nodiscard]] std::uint64_t read(Gpa at, unsigned bytes);
    void write(Gpa at, unsigned bytes, std::uint64_t value);

private:
    [[nodiscard]] Gpa place_of(unsigned type, std::uint32_t offset);

    vmm::PciBus& bus_;
    const Gpa window_;
    const unsigned slot_;
    FakeDoorbells* doorbells_;
    std::array<Structure, 6> structures_{};
    unsigned msix_capability_ = 0;
    std::uint32_t notify_stride_ = 0;
    std::array<std::uint32_t, 64> notify_offsets_{};  // by queue, once it was set
};

}  // namespace penumbra::test
