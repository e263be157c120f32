// The PCI bus and the virtio devices of a Linux machine: made, plugged in, and led through pause, reset and end
// together.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "vmm/control/run_options.hpp"
#include "vmm/devices/bus.hpp"
#include "vmm/devices/console_port.hpp"
#include "vmm/devices/interrupts.hpp"
#include "vmm/devices/pci/pci_bus.hpp"
#include "vmm/devices/power.hpp"
#include "vmm/devices/virtio/console_line.hpp"
#include "vmm/devices/virtio/virtio_mmio.hpp"
#include "vmm/devices/virtio/virtio_pci.hpp"
#include "vmm/machine_platform.hpp"
#include "vmm/memory/memory_system.hpp"

namespace penumbra::vmm {

/// See Platform for threads. Devices go to PCI slots from 1 on, or to MMIO places from 0 on, in the order of their
/// options: disks, networks, console. Each has a loop of its own.
class MachineDevices {
public:
    struct Parts {
        const RunOptions& options;
        MemorySystem& memory;
        Interrupts& interrupts;
        Doorbells& doorbells;
        PowerListener& power;
        ConsolePeer& console;
        Print print;
    };
    /// Whatever stands in the way of a device (a disk that is locked, an interface that is not there) is told with
    /// cause and cure.
    [[nodiscard]] static Result<std::unique_ptr<MachineDevices>> create(const Parts& parts);
    ~MachineDevices();
    MachineDevices(const MachineDevices&) = delete;
    MachineDevices& operator=(const MachineDevices&) = delete;

    void add_to(Bus& bus);
    [[nodiscard]] unsigned virtio_mmio_devices() const { return mmio_devices_; }

    void pause();
    void resume();
    /// Power-on: no device has anything of memory in hand afterwards.
    void reset();
    void stop();

    /// The virtio console's, or null.
    [[nodiscard]] ConsolePort* console_port() { return console_line_.get(); }
    [[nodiscard]] std::vector<DeviceFigures> figures() const;

private:
    /// One device and what is around it, in order of construction.
    struct Slot {
        std::unique_ptr<IoLoop> loop;
        std::unique_ptr<VirtioDevice> device;
        std::unique_ptr<VirtioPci> pci;  // one of the two
        std::unique_ptr<VirtioMmio> mmio;
        std::function<std::vector<std::pair<std::string, std::uint64_t>>()> numbers;

        [[nodiscard]] VirtioTransport& transport() const;
    };
    struct Made {
        std::unique_ptr<VirtioDevice> device;
        decltype(Slot::numbers) numbers;
    };

    explicit MachineDevices(const Parts& parts);
    [[nodiscard]] Result<> build();
    template <class Make>
    [[nodiscard]] Result<> add(const std::string& name, VirtioBus bus, Make&& make);
    [[nodiscard]] Result<> add_disk(const DiskChoice& choice);
    [[nodiscard]] Result<> add_net(const NetChoice& choice);
    [[nodiscard]] Result<> add_console();
    [[nodiscard]] std::string identity() const;
    template <class Ask>
    void ask_all(Ask&& ask);

    const Parts parts_;
    unsigned mmio_devices_ = 0;
    unsigned disks_ = 0;
    unsigned nets_ = 0;
    bool started_ = false;
    bool stopped_ = false;
    std::unique_ptr<ConsoleLine> console_line_;
    std::vector<Slot> slots_;
    PciBus pci_;  // its functions are the slots'
};

}  // namespace penumbra::vmm
