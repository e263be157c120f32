// A virtio disk with its driver, over any machine that GuestView knows.
#pragma once

#include <linux/virtio_blk.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/disk_image.hpp"
#include "tests/support/fake_interrupts.hpp"
#include "tests/support/guest_view.hpp"
#include "tests/support/virtio_driver.hpp"
#include "tests/support/virtio_registers.hpp"
#include "vmm/devices/io_loop.hpp"
#include "vmm/devices/virtio/block.hpp"
#include "vmm/devices/virtio/virtio_mmio.hpp"

namespace penumbra::test {

/// What a driver asks of a disk.
struct BlockAsk {
    std::uint32_t type = VIRTIO_BLK_T_IN;
    std::uint64_t sector = 0;
    std::vector<Buffer> data;
};

/// Destroyed before its machine. The driver's methods from one thread.
class BlockBench {
public:
    /// The rings begin at `memory`, and the headers and statuses of requests follow: 16 pages in all.
    template <class Machine>
    BlockBench(Machine& machine, vmm::DiskOptions disk, Gpa memory)
        : BlockBench(machine.service(), GuestView(machine), std::move(disk), memory) {}
    ~BlockBench();
    BlockBench(const BlockBench&) = delete;
    BlockBench& operator=(const BlockBench&) = delete;

    static constexpr std::uint64_t pages = 16;
    static constexpr std::uint16_t queue_size = 128;
    static constexpr std::uint8_t no_status = 0xFF;

    /// Brings the device up; again after a reset. False: it refused.
    [[nodiscard]] bool start(std::uint64_t features = VirtioDriver::all_features);

    /// Begins a request; its number.
    unsigned begin(const BlockAsk& ask);
    struct Answer {
        unsigned request = 0;
        std::uint8_t status = no_status;
        std::uint32_t written = 0;
    };
    /// The next answer, whatever it is to; nullopt when ten seconds passed.
    [[nodiscard]] std::optional<Answer> wait();
    /// An answer that is there already.
    [[nodiscard]] std::optional<Answer> look();
    /// begin() and wait(), with nothing else in flight; no_status when no answer came.
    [[nodiscard]] std::uint8_t run(const BlockAsk& ask);

    /// Both return when the device has done so.
    void pause();
    void resume();

    [[nodiscard]] vmm::BlockDevice& device() { return *device_; }
    [[nodiscard]] VirtioDriver& driver() { return driver_; }
    [[nodiscard]] GuestView& memory() { return memory_; }
    [[nodiscard]] vmm::IoLoop& loop() { return loop_; }
    [[nodiscard]] std::vector<std::string> complaints();

private:
    BlockBench(vmm::DmaService& service, GuestView view, vmm::DiskOptions disk, Gpa memory);
    /// Where the request in `slot` has its header; the status is 16 bytes further.
    [[nodiscard]] Gpa header_of(unsigned slot) const { return notes_ + std::uint64_t{slot} * 64; }
    [[nodiscard]] Answer answer_for(DriverQueue::Done done);

    GuestView memory_;
    const Gpa rings_;
    const Gpa notes_;
    FakeInterrupts interrupts_;
    Mutex mutex_{LockRank::leaf};
    std::vector<std::string> complaints_ GUARDED_BY(mutex_);
    vmm::IoLoop loop_{"disk-test"};
    std::unique_ptr<vmm::BlockDevice> device_;
    std::optional<vmm::VirtioMmio> transport_;
    std::optional<MmioRegisters> registers_;
    VirtioDriver driver_;
    std::vector<bool> busy_ = std::vector<bool>(queue_size);
    std::vector<unsigned> request_of_head_ = std::vector<unsigned>(queue_size);
};

}  // namespace penumbra::test
