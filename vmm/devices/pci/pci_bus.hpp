// PCI bus 0: which function answers at which slot and address, and the machine's three ways to it: ECAM, the
// configuration ports, and the memory window. No bridges, one function per slot.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/mutex.hpp"
#include "vmm/devices/device.hpp"
#include "vmm/devices/pci/pci_function.hpp"

namespace penumbra::vmm {

/// Thread-safe once built. There is no firmware: the bus itself gives BARs their places; a guest may move them within
/// the window. A BAR that leaves the window, even in part, does not answer.
class PciBus {
public:
    static constexpr unsigned slots = 32;
    static constexpr std::uint64_t ecam_bytes = std::uint64_t{1} << 20;  ///< of one bus
    static constexpr std::uint16_t first_port = 0xCF8;
    static constexpr std::uint16_t ports = 8;

    struct Window {
        Gpa first;
        std::uint64_t bytes = 0;
    };
    /// `reset_port` takes byte writes to port 0xCF9, which lies within the configuration ports but is the machine's
    /// reset register; may be empty. Slot 0 is a host bridge.
    PciBus(Window window, std::function<void(std::uint8_t)> reset_port);
    ~PciBus();
    PciBus(const PciBus&) = delete;
    PciBus& operator=(const PciBus&) = delete;

    /// Before the guest runs; the function outlives the bus. Its INTA becomes GSI 16 + slot % 4.
    void add(unsigned slot, PciFunction& function) EXCLUDES(mutex_);
    /// Resets every function and places its BARs, with memory decoding on. Before the guest's first instruction; no
    /// vCPU runs, the devices' loops do.
    void power_on() EXCLUDES(mutex_);

    // ---- for the machine's bus ----
    [[nodiscard]] Device& ecam() { return ecam_; }
    [[nodiscard]] Device& config_ports() { return config_ports_; }
    [[nodiscard]] Device& window() { return window_; }

private:
    struct Mapping {
        std::uint64_t first = 0;  // from the window's start
        std::uint32_t bytes = 0;
        unsigned slot = 0;
        unsigned bar = 0;
        PciFunction* function = nullptr;
    };
    class Ecam final : public Device {
    public:
        explicit Ecam(PciBus& bus) : bus_(bus) {}
        [[nodiscard]] std::uint64_t read(std::uint64_t offset, unsigned bytes) override;
        void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override;

    private:
        PciBus& bus_;
    };
    class ConfigPorts final : public Device {
    public:
        ConfigPorts(PciBus& bus, std::function<void(std::uint8_t)> reset_port)
            : bus_(bus), reset_port_(std::move(reset_port)) {}
        [[nodiscard]] std::uint64_t read(std::uint64_t offset, unsigned bytes) override;
        void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override;

    private:
        PciBus& bus_;
        const std::function<void(std::uint8_t)> reset_port_;
        std::atomic<std::uint32_t> address_{0};
    };
    class MemoryWindow final : public Device {
    public:
        explicit MemoryWindow(PciBus& bus) : bus_(bus) {}
        [[nodiscard]] std::uint64_t read(std::uint64_t offset, unsigned bytes) override;
        void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override;

    private:
        PciBus& bus_;
    };

    [[nodiscard]] std::uint32_t read_config(unsigned slot, std::uint64_t offset, unsigned size) EXCLUDES(mutex_);
    void write_config(unsigned slot, std::uint64_t offset, unsigned size, std::uint32_t value) EXCLUDES(mutex_);
    [[nodiscard]] std::optional<Mapping> find(std::uint64_t offset, unsigned bytes) EXCLUDES(mutex_);
    void place(unsigned slot, std::uint64_t& next) REQUIRES(mutex_);
    void map(unsigned slot) REQUIRES(mutex_);
    [[nodiscard]] std::optional<std::uint64_t> inside(const PciConfig& config, unsigned bar) const;

    const Window place_;
    Ecam ecam_{*this};
    ConfigPorts config_ports_;
    MemoryWindow window_{*this};
    std::unique_ptr<PciFunction> host_bridge_;
    Mutex mutex_{LockRank::pci};
    std::array<PciFunction*, slots> functions_ GUARDED_BY(mutex_){};
    std::vector<Mapping> mappings_ GUARDED_BY(mutex_);  // by slot and BAR; the guest may make them overlap: first wins
};

}  // namespace penumbra::vmm
