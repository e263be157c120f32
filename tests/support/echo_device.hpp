// A virtio device that writes what it reads, and can be told to be slow about it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <string>
#include <vector>

#include "base/mutex.hpp"
#include "vmm/devices/virtio/virtio_device.hpp"

namespace penumbra::test {

struct EchoOptions {
    vmm::Delivery delivery = vmm::Delivery::as_ready;
    unsigned queues = 2;
    std::uint16_t queue_size = 256;
};

/// Fills each chain's writable bytes with its readable ones, as many as there are of both.
class EchoDevice final : public vmm::VirtioDevice {
public:
    static constexpr std::uint64_t own_feature = 1U << 5;
    static constexpr std::size_t config_size = 24;
    static constexpr std::size_t config_first_writable = 16;

    EchoDevice(vmm::DmaService& dma, vmm::IoLoop& loop, const EchoOptions& options = {});

    // ---- any thread ----
    /// From now on chains are kept instead of echoed.
    void keep_chains() { keep_.store(true); }
    /// Echoes what was kept, newest first, and keeps no more.
    void echo_kept();
    /// From now on quiesce() is answered only by settle(), as if I/O were in flight.
    void stay_busy() { busy_.store(true); }
    void settle();
    void set_config(std::size_t offset, std::uint8_t value);
    void break_down();

    [[nodiscard]] unsigned taken() const { return taken_.load(); }
    [[nodiscard]] unsigned activations() const { return activations_.load(); }
    [[nodiscard]] unsigned forgets() const { return forgets_.load(); }
    [[nodiscard]] unsigned config_writes() const { return config_writes_.load(); }
    /// Chains that came while the device was paused or being reset.
    [[nodiscard]] unsigned taken_at_a_wrong_time() const { return wrong_.load(); }
    [[nodiscard]] std::uint64_t negotiated() const { return negotiated_.load(); }
    [[nodiscard]] std::vector<std::string> trouble();
    /// Sequence numbers in the order of their coming.
    [[nodiscard]] std::vector<std::uint64_t> order();

protected:
    void activated() override;
    void take(unsigned queue, vmm::Chain chain) override;
    void quiesce(Done done) override;
    void resumed() override;
    void forget() override;
    void config_written() override { ++config_writes_; }

private:
    struct Work {
        unsigned queue;
        vmm::Chain chain;
        vmm::SegmentCursor from;
        vmm::SegmentCursor to;
        std::array<std::byte, 300> piece{};  // no divisor of a page
        std::size_t begin = 0;
        std::size_t end = 0;
        std::uint32_t written = 0;
        bool waits = false;
    };
    using Works = std::list<Work>;

    static vmm::VirtioSpec spec_of(EchoDevice& self, const EchoOptions& options);
    void echo(Works::iterator work);
    void wait_for_page(Works::iterator work, vmm::DmaMiss miss, mmu::FaultAccess access);

    std::atomic<bool> keep_{false};
    std::atomic<bool> busy_{false};
    std::atomic<unsigned> taken_{0};
    std::atomic<unsigned> activations_{0};
    std::atomic<unsigned> forgets_{0};
    std::atomic<unsigned> config_writes_{0};
    std::atomic<unsigned> wrong_{0};
    std::atomic<std::uint64_t> negotiated_{0};
    Works works_;
    std::vector<Done> unsettled_;
    Mutex mutex_{LockRank::leaf};
    std::vector<std::string> trouble_ GUARDED_BY(mutex_);
    std::vector<std::uint64_t> order_ GUARDED_BY(mutex_);
};

}  // namespace penumbra::test
