#include "vmm/machine_devices.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/assert.hpp"
#include "base/mutex.hpp"
#include "vmm/boot/platform_map.hpp"
#include "vmm/devices/dma/dma_service.hpp"
#include "vmm/devices/virtio/block.hpp"
#include "vmm/devices/virtio/block_config.hpp"
#include "vmm/devices/virtio/console.hpp"
#include "vmm/devices/virtio/net.hpp"

namespace penumbra::vmm {

namespace {

/// Counts the answers of several loops.
class Answers {
public:
    void arrived() EXCLUDES(mutex_) {
        const MutexLock lock(mutex_);
        ++count_;
        changed_.notify_all();
    }
    void wait_for(std::size_t count) EXCLUDES(mutex_) {
        const MutexLock lock(mutex_);
        while (count_ < count) changed_.wait(mutex_);
    }

private:
    Mutex mutex_{LockRank::leaf};
    CondVar changed_;
    std::size_t count_ GUARDED_BY(mutex_) = 0;
};

template <class Named>
std::vector<std::pair<std::string, std::uint64_t>> owned(const Named& named) {
    std::vector<std::pair<std::string, std::uint64_t>> numbers;
    for (const auto& [name, number] : named) numbers.emplace_back(std::string(name), number);
    return numbers;
}

}  // namespace

VirtioTransport& MachineDevices::Slot::transport() const {
    if (pci) return *pci;
    return *mmio;
}

MachineDevices::MachineDevices(const Parts& parts)
    : parts_(parts),
      pci_({Gpa{platform::pci_window_base}, platform::pci_window_end - platform::pci_window_base},
           [&power = parts.power](std::uint8_t value) { write_reset_control(value, power); }) {}

MachineDevices::~MachineDevices() { stop(); }

Result<std::unique_ptr<MachineDevices>> MachineDevices::create(const Parts& parts) {
    std::unique_ptr<MachineDevices> devices(new MachineDevices(parts));
    PENUMBRA_TRY(devices->build());
    return devices;
}

Result<> MachineDevices::build() {
    const LinuxOptions& os = parts_.options.guest_os;
    for (const DiskChoice& disk : os.disks) PENUMBRA_TRY(add_disk(disk));
    for (const NetChoice& net : os.nets) PENUMBRA_TRY(add_net(net));
    if (os.virtio_console) PENUMBRA_TRY(add_console());
    for (Slot& slot : slots_) slot.loop->start();
    started_ = true;
    return {};
}

template <class Make>
Result<> MachineDevices::add(const std::string& name, VirtioBus bus, Make&& make) {
    PENUMBRA_ASSERT(parts_.memory.dma() != nullptr, "virtio devices need the DMA service");
    Slot slot;
    slot.loop = std::make_unique<IoLoop>(name);
    PENUMBRA_TRY_ASSIGN(Made made, make(*parts_.memory.dma(), *slot.loop));
    slot.device = std::move(made.device);
    slot.numbers = std::move(made.numbers);
    if (bus == VirtioBus::pci) {
        slot.pci = std::make_unique<VirtioPci>(*slot.device, parts_.interrupts, &parts_.doorbells);
        const auto in_use = static_cast<unsigned>(slots_.size()) - mmio_devices_;
        pci_.add(1 + in_use, *slot.pci);  // slot 0 is the host bridge's
    } else {
        const unsigned index = mmio_devices_++;
        const VirtioMmio::Place place{Gpa{platform::virtio_mmio_address(index)}, Gsi{platform::virtio_mmio_gsi(index)},
                                      index};
        slot.mmio = std::make_unique<VirtioMmio>(*slot.device, place, parts_.interrupts, &parts_.doorbells);
    }
    slots_.push_back(std::move(slot));
    return {};
}

Result<> MachineDevices::add_disk(const DiskChoice& choice) {
    const std::string name = "disk" + std::to_string(disks_++);
    return add(name, choice.bus, [&](DmaService& dma, IoLoop& loop) -> Result<Made> {
        const unsigned queues = std::min(parts_.options.cpus, most_block_queues);
        PENUMBRA_TRY_ASSIGN(std::unique_ptr<BlockDevice> disk,
                            BlockDevice::create({choice.disk, name, queues, parts_.print}, dma, loop));
        const BlockDevice& counted = *disk;
        return Made{std::move(disk), [&counted] { return owned(counted.block_counters().named()); }};
    });
}

Result<> MachineDevices::add_net(const NetChoice& choice) {
    const std::string name = "net" + std::to_string(nets_++);
    return add(name, choice.bus, [&](DmaService& dma, IoLoop& loop) -> Result<Made> {
        PENUMBRA_TRY_ASSIGN(std::unique_ptr<NetDevice> net,
                            NetDevice::create({choice.net, name, identity(), parts_.print}, dma, loop));
        const NetDevice& counted = *net;
        return Made{std::move(net), [&counted] { return owned(counted.named_counters()); }};
    });
}

Result<> MachineDevices::add_console() {
    const std::string name = "console";
    return add(name, VirtioBus::pci, [&](DmaService& dma, IoLoop& loop) -> Result<Made> {
        PENUMBRA_TRY_ASSIGN(ConsoleLine::Made line, ConsoleLine::create(parts_.console, loop));
        console_line_ = std::move(line.line);
        ConsoleOptions options;
        options.name = name;
        options.sink = [&peer = parts_.console](std::string_view text) { peer.sent(std::as_bytes(std::span(text))); };
        options.input = std::move(line.input);
        options.on_trouble = parts_.print;
        auto console = std::make_unique<VirtioConsole>(std::move(options), dma, loop);
        const VirtioConsole& counted = *console;
        return Made{std::move(console), [&counted] {
                        return std::vector<std::pair<std::string, std::uint64_t>>{
                            {"bytes_printed", counted.bytes_printed()}, {"bytes_typed", counted.bytes_typed()}};
                    }};
    });
}

// The same machine keeps its network addresses from run to run; machines side by side differ in some file of theirs.
std::string MachineDevices::identity() const {
    std::array<char, 256> host{};
    (void)::gethostname(host.data(), host.size() - 1);
    const RunOptions& options = parts_.options;
    std::string text = std::string(host.data()) + '\0' + options.qmp_path + '\0' + options.guest_os.kernel;
    for (const DiskChoice& choice : options.guest_os.disks) text += '\0' + choice.disk.path;
    return text;
}

void MachineDevices::add_to(Bus& bus) {
    bus.add_mmio(Gpa{platform::ecam_base}, PciBus::ecam_bytes, pci_.ecam());
    bus.add_mmio(Gpa{platform::pci_window_base}, platform::pci_window_end - platform::pci_window_base, pci_.window());
    bus.add_ports(PciBus::first_port, PciBus::ports, pci_.config_ports());
    unsigned index = 0;
    for (Slot& slot : slots_) {
        if (slot.mmio) bus.add_mmio(Gpa{platform::virtio_mmio_address(index++)}, VirtioMmio::bytes, *slot.mmio);
    }
}

template <class Ask>
void MachineDevices::ask_all(Ask&& ask) {
    Answers answers;
    for (Slot& slot : slots_) ask(*slot.device, [&answers] { answers.arrived(); });
    answers.wait_for(slots_.size());
}

void MachineDevices::pause() {
    if (stopped_) return;
    ask_all([](VirtioDevice& device, VirtioDevice::Done done) { device.pause(std::move(done)); });
}

void MachineDevices::resume() {
    if (stopped_) return;
    for (Slot& slot : slots_) slot.device->resume();
}

void MachineDevices::reset() {
    for (Slot& slot : slots_) {
        if (slot.mmio) slot.mmio->reset_device();
    }
    pci_.power_on();
}

// vCPUs may still talk to the devices: a paused device takes nothing into its hands again.
void MachineDevices::stop() {
    if (std::exchange(stopped_, true)) return;
    if (started_) {
        ask_all([](VirtioDevice& device, VirtioDevice::Done done) { device.pause(std::move(done)); });
        ask_all([](VirtioDevice& device, VirtioDevice::Done done) { device.reset(std::move(done)); });
    }
    for (Slot& slot : slots_) slot.transport().release_waiters();
    for (Slot& slot : slots_) slot.loop->stop();
}

std::vector<DeviceFigures> MachineDevices::figures() const {
    std::vector<DeviceFigures> all;
    for (const Slot& slot : slots_) all.push_back({slot.device->name(), slot.numbers()});
    if (DmaService* dma = parts_.memory.dma()) {
        const DmaService::Stats s = dma->stats();
        all.push_back({"dma",
                       {{"wishes", s.wishes},
                        {"already_present", s.already_present},
                        {"brought_in", s.brought_in},
                        {"retries", s.retries},
                        {"holds", s.holds},
                        {"io_waits", s.io_waits},
                        {"io_waits_ns", s.io_waits_ns}}});
    }
    return all;
}

}  // namespace penumbra::vmm
