// A virtio device as a PCI function (Virtual I/O Device 1.2, 4.1; modern only): registers in BAR 0, message interrupts
// in BAR 1, and the same registers once more through configuration space.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "vmm/devices/interrupts.hpp"
#include "vmm/devices/pci/msix.hpp"
#include "vmm/devices/pci/pci_function.hpp"
#include "vmm/devices/virtio/virtio_transport.hpp"

namespace penumbra::vmm {

/// What lies where in BAR 0. Each part has its own page, so that a doorbell is a page that nothing else is read from.
namespace virtio_pci_layout {
inline constexpr unsigned register_bar = 0;
inline constexpr unsigned msix_bar = 1;
inline constexpr std::uint32_t common = 0x0000;
inline constexpr std::uint32_t isr = 0x1000;
inline constexpr std::uint32_t device = 0x2000;
inline constexpr std::uint32_t notify = 0x3000;
inline constexpr std::uint32_t notify_stride = 4;
inline constexpr std::uint32_t register_bytes = 0x4000;
inline constexpr std::uint32_t pending = 0x0800;  ///< in BAR 1; the table is at 0
inline constexpr std::uint32_t msix_bytes = 0x1000;
}  // namespace virtio_pci_layout

/// Bus mastering is not looked at: a driver that turned it off has reset its device before.
class VirtioPci final : public PciFunction, public VirtioTransport {
public:
    static constexpr std::uint16_t no_vector = 0xFFFF;

    /// All outlive it.
    VirtioPci(VirtioDevice& device, Interrupts& interrupts, Doorbells* doorbells);
    ~VirtioPci() override;

    void connect(Gsi line, std::uint32_t source) override;
    void bar_moved(unsigned bar, std::optional<Gpa> at) override;
    void reset() override EXCLUDES(mutex_);
    [[nodiscard]] std::uint64_t read_bar(unsigned bar, std::uint64_t offset, unsigned size) override EXCLUDES(mutex_);
    void write_bar(unsigned bar, std::uint64_t offset, unsigned size, std::uint64_t value) override EXCLUDES(mutex_);

protected:
    void about_to_read(std::uint64_t offset, unsigned size) override EXCLUDES(mutex_);
    void written(std::uint64_t offset, unsigned size) override EXCLUDES(mutex_);

private:
    // ---- configuration space: under the PCI bus's lock ----
    void add_capabilities();
    unsigned add_virtio_capability(std::uint8_t type, std::uint32_t offset, std::uint32_t bytes, unsigned extra = 0);
    struct Access {
        unsigned bar = 0;
        std::uint32_t offset = 0;
        unsigned bytes = 0;
    };
    /// What the guest asks for through VIRTIO_PCI_CAP_PCI_CFG, if that makes sense.
    [[nodiscard]] std::optional<Access> configured_access();
    [[nodiscard]] bool touches(unsigned first, unsigned bytes, std::uint64_t offset, unsigned size) const {
        return offset < first + bytes && first < offset + size;
    }
    void mirror_interrupt_controls() EXCLUDES(mutex_);

    // ---- registers ----
    [[nodiscard]] std::uint64_t read_common(std::uint64_t offset, unsigned size) REQUIRES(mutex_);
    [[nodiscard]] std::uint32_t read_queue_register(std::uint64_t offset, unsigned size) REQUIRES(mutex_);
    [[nodiscard]] std::uint32_t read_queue_address(const Queue& queue, std::uint64_t offset) const;
    void write_common(std::uint64_t offset, unsigned size, std::uint32_t value) REQUIRES(mutex_);
    void write_queue_register(std::uint64_t offset, unsigned size, std::uint32_t value) REQUIRES(mutex_);
    void write_queue_address(std::uint64_t offset, std::uint32_t value) REQUIRES(mutex_);
    [[nodiscard]] std::uint8_t take_isr() REQUIRES(mutex_);
    [[nodiscard]] std::uint16_t possible_vector(std::uint32_t value) const REQUIRES(mutex_);

    // ---- interrupts ----
    void raise_queue(unsigned queue) override REQUIRES(mutex_);
    void raise_config() override REQUIRES(mutex_);
    void registers_cleared() override REQUIRES(mutex_);
    void raise(std::uint16_t vector, std::uint8_t isr_bit) REQUIRES(mutex_);
    void update_line() REQUIRES(mutex_);

    void bind_doorbells(std::optional<Gpa> at);

    Interrupts& interrupts_;
    Doorbells* const doorbells_;  // null: notifications come as writes
    Gsi line_{};
    std::uint32_t source_ = 0;
    unsigned msix_capability_ = 0;
    unsigned access_capability_ = 0;
    struct BoundDoorbell {
        unsigned queue = 0;
        Gpa at;
    };
    std::vector<BoundDoorbell> bound_;  // under the PCI bus's lock

    Msix msix_ GUARDED_BY(mutex_);
    bool intx_off_ GUARDED_BY(mutex_) = false;
    bool line_high_ GUARDED_BY(mutex_) = false;
    std::uint8_t isr_ GUARDED_BY(mutex_) = 0;
    std::uint32_t device_features_word_ GUARDED_BY(mutex_) = 0;
    std::uint32_t driver_features_word_ GUARDED_BY(mutex_) = 0;
    std::uint16_t queue_ GUARDED_BY(mutex_) = 0;
    std::uint16_t config_vector_ GUARDED_BY(mutex_) = no_vector;
    std::vector<std::uint16_t> queue_vectors_ GUARDED_BY(mutex_);
};

}  // namespace penumbra::vmm
