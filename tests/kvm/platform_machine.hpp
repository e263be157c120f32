// A PC's processors and interrupt hardware as KVM plays them, with plain memory, a serial port and pc_guest: no pager,
// no bus, no PCI.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_region.hpp"
#include "base/mutex.hpp"
#include "base/thread.hpp"
#include "vmm/devices/serial.hpp"
#include "vmm/kvm/kernel_chips.hpp"
#include "vmm/kvm/vcpu.hpp"
#include "vmm/kvm/vm.hpp"

namespace penumbra::vmm::test {

/// A store of the guest's that came out of KVM.
struct Told {
    std::uint32_t cpu;  ///< the vCPU whose thread saw it
    std::uint64_t gpa;
    std::uint64_t value;

    friend bool operator==(const Told&, const Told&) = default;
};

class PlatformMachine final : public ConsolePeer {
public:
    [[nodiscard]] static Result<std::unique_ptr<PlatformMachine>> create(std::uint32_t cpus);
    ~PlatformMachine() override { stop(); }
    PlatformMachine(const PlatformMachine&) = delete;
    PlatformMachine& operator=(const PlatformMachine&) = delete;

    [[nodiscard]] KernelChips& chips() { return *chips_; }
    /// Power-on, then the guest's commands: what is in memory, and all that was said and told, is forgotten. Every vCPU
    /// runs on a thread of its own.
    [[nodiscard]] Result<> start(const std::string& commands);
    /// More of them, through COM1; false when the guest does not take them.
    [[nodiscard]] bool command(std::string_view letters);
    /// Every vCPU out of the guest and its thread gone.
    void stop();

    [[nodiscard]] std::string said() EXCLUDES(mutex_);
    [[nodiscard]] std::vector<Told> told() EXCLUDES(mutex_);
    /// Exits that should not be. Empty: none.
    [[nodiscard]] std::string trouble() EXCLUDES(mutex_);

    void sent(std::span<const std::byte> bytes) override EXCLUDES(mutex_);
    void ready_for_more() override {}

private:
    PlatformMachine() = default;
    [[nodiscard]] Result<> build(std::uint32_t cpus);
    void run(std::uint32_t cpu);
    void handle(std::uint32_t cpu, const Exit& exit) EXCLUDES(mutex_);
    void handle_port(const PortExit& exit);

    MappedRegion ram_;
    std::optional<Vm> vm_;
    std::unique_ptr<KernelChips> chips_;
    std::vector<std::unique_ptr<Vcpu>> vcpus_;
    std::optional<Serial> serial_;
    std::atomic<bool> stopping_{false};
    std::vector<Thread> threads_;

    Mutex mutex_{LockRank::leaf};
    std::string said_ GUARDED_BY(mutex_);
    std::string trouble_ GUARDED_BY(mutex_);
    std::vector<Told> told_ GUARDED_BY(mutex_);
};

}  // namespace penumbra::vmm::test
