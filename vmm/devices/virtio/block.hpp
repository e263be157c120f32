// A virtio disk (virtio 1.2, 5.2) over a raw file or block device. The kernel reads and writes guest pages where they
// are; a page that is swapped out holds up the one request that names it.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>

#include "vmm/devices/block/disk_file.hpp"
#include "vmm/devices/block/disk_io.hpp"
#include "vmm/devices/virtio/block_counters.hpp"
#include "vmm/devices/virtio/block_engine.hpp"
#include "vmm/devices/virtio/block_request.hpp"
#include "vmm/devices/virtio/trouble_log.hpp"
#include "vmm/devices/virtio/virtio_device.hpp"

namespace penumbra::vmm {

struct BlockSetup {
    DiskOptions disk;
    std::string name;                                  ///< for messages: "disk0"
    unsigned queues = 1;                               ///< 1..most_block_queues; more than vCPUs are of no use
    std::function<void(std::string_view)> on_trouble;  ///< one line for people, rate-limited; on the loop
};

/// Threads: see VirtioDevice. Kernel I/O that fails is answered by IOERR and one line; nothing is retried behind the
/// guest's back.
class BlockDevice final : public VirtioDevice {
public:
    /// Opens and locks the disk. Errors name path, cause and cure.
    [[nodiscard]] static Result<std::unique_ptr<BlockDevice>> create(BlockSetup setup, DmaService& dma, IoLoop& loop);
    /// Waits for what the kernel has in hand.
    ~BlockDevice() override;

    [[nodiscard]] const DiskFile& file() const { return *file_; }
    [[nodiscard]] const BlockCounters& block_counters() const { return counters_; }

private:
    BlockDevice(const BlockSetup& setup, std::unique_ptr<DiskFile> file, std::unique_ptr<DiskIo> io, DmaService& dma,
                IoLoop& loop);

    // ---- VirtioDevice ----
    void take(unsigned queue, Chain chain) override;
    void quiesce(Done done) override { engine_.pause(std::move(done)); }
    void resumed() override { engine_.resume(); }
    void forget() override;

    [[nodiscard]] BlockEngine::Parts engine_parts();
    void work();
    void ended(BlockTask& task);
    void trouble(DiskIo::Direction direction, int error_number);

    // In order of construction; destroyed in reverse: the ring first, which waits for the kernel.
    const std::unique_ptr<DiskFile> file_;
    BlockCounters counters_;
    TroubleLog troubles_;
    std::list<std::unique_ptr<BlockRequest>> requests_;
    std::unique_ptr<DiskIo> io_;
    BlockEngine engine_;
};

}  // namespace penumbra::vmm
