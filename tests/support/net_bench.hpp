// A virtio network card with its driver, over any machine that GuestView knows and any link.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/fake_interrupts.hpp"
#include "tests/support/guest_view.hpp"
#include "tests/support/net_fake_link.hpp"
#include "tests/support/virtio_driver.hpp"
#include "tests/support/virtio_registers.hpp"
#include "vmm/devices/io_loop.hpp"
#include "vmm/devices/virtio/net.hpp"
#include "vmm/devices/virtio/virtio_mmio.hpp"

namespace penumbra::test {

/// Destroyed before its machine. The driver's methods from one thread.
class NetBench {
public:
    using MakeCard =
        std::function<std::unique_ptr<vmm::NetDevice>(const vmm::NetSetup&, vmm::DmaService&, vmm::IoLoop&)>;

    /// Rings and the slots' headers and buffers are the guest's pages from `memory` on.
    template <class Machine>
    NetBench(Machine& machine, Gpa memory, const MakeCard& make)
        : NetBench(machine.service(), GuestView(machine), memory, make) {}
    /// With a fake link: link().
    template <class Machine>
    NetBench(Machine& machine, Gpa memory, const FakeLink::Options& options)
        : NetBench(machine, memory, [this, options](const auto& setup, auto& dma, auto& loop) {
              auto made = std::make_unique<FakeLink>(loop, options);
              fake_ = made.get();
              return std::make_unique<vmm::NetDevice>(setup, std::move(made), dma, loop);
          }) {}
    ~NetBench();
    NetBench(const NetBench&) = delete;
    NetBench& operator=(const NetBench&) = delete;

    static constexpr unsigned rx = vmm::NetDevice::receive_queue;
    static constexpr unsigned tx = vmm::NetDevice::transmit_queue;

    [[nodiscard]] bool start(std::uint64_t features = VirtioDriver::all_features, std::uint16_t size = 64) {
        return driver_.start(memory_begin_, size, features);
    }

    // ---- frames with buffers of the bench's own: a slot of pages each ----
    static constexpr std::uint64_t slot_bytes = 2 * page_bytes;
    static constexpr unsigned slots = 8;
    /// Sends a frame of at most slot_bytes, and waits until the card has given it back.
    [[nodiscard]] bool send(const Frame& frame);
    /// From now on send() keeps the frames, at most 16; send_gathered() sends them all at one notification.
    void gather_sends() { gathered_.emplace(); }
    [[nodiscard]] bool send_gathered();
    /// Gives the card `count` buffers of `bytes` each.
    void give_buffers(unsigned count, std::uint32_t bytes = slot_bytes);
    /// The next frame, merged where it must be, whose buffers go to the card again; nullopt when `patience` ended.
    [[nodiscard]] std::optional<Frame> receive(std::chrono::milliseconds patience = std::chrono::seconds{10});

    /// Both return when the device has done so.
    void pause();
    void resume();
    /// Returns once the loop has run everything that was posted before.
    void sync();

    [[nodiscard]] FakeLink& link() { return *fake_; }
    [[nodiscard]] vmm::NetDevice& device() { return *device_; }
    [[nodiscard]] VirtioDriver& driver() { return driver_; }
    [[nodiscard]] GuestView& memory() { return memory_; }
    [[nodiscard]] vmm::IoLoop& loop() { return loop_; }
    [[nodiscard]] std::vector<std::string> complaints();
    [[nodiscard]] std::uint8_t status() { return driver_.registers().status(); }
    /// What follows rings and slots.
    [[nodiscard]] Gpa end() const { return slots_begin_ + (1 + slots) * slot_bytes; }

private:
    NetBench(vmm::DmaService& service, GuestView view, Gpa memory, const MakeCard& make);
    void give(unsigned slot);
    void add_send(const Frame& frame, Gpa at);
    [[nodiscard]] Gpa slot(unsigned number) const { return slots_begin_ + number * slot_bytes; }

    GuestView memory_;
    const Gpa memory_begin_;
    const Gpa slots_begin_;
    FakeInterrupts interrupts_;
    Mutex mutex_{LockRank::leaf};
    std::vector<std::string> complaints_ GUARDED_BY(mutex_);
    vmm::IoLoop loop_{"net-test"};
    FakeLink* fake_ = nullptr;
    std::unique_ptr<vmm::NetDevice> device_;
    std::optional<vmm::VirtioMmio> transport_;
    std::optional<MmioRegisters> registers_;
    VirtioDriver driver_;
    std::uint32_t buffer_bytes_ = 0;
    std::optional<std::vector<Frame>> gathered_;
    std::vector<unsigned> slot_of_head_ = std::vector<unsigned>(vmm::NetDevice::queue_size);
};

}  // namespace penumbra::test
