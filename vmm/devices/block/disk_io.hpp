// One disk's kernel I/O: an io_uring whose completions arrive on the device's loop. Nothing here waits.
#pragma once

#include <liburing.h>
#include <sys/uio.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "vmm/devices/block/disk_file.hpp"
#include "vmm/devices/io_loop.hpp"

namespace penumbra::vmm {

/// errno of a transfer beyond the end of a file that somebody shortened.
inline constexpr int disk_ended = ENODATA;

/// On the loop's thread only, or before the loop starts. An operation belongs to the kernel until its `done` runs: the
/// memory it names stays as it is until then.
class DiskIo {
public:
    /// 0, or the errno of what failed. Called once, on the loop, never inside the call that began the operation.
    using Done = std::move_only_function<void(int error_number)>;

    enum class Direction : std::uint8_t { read, write };
    enum class Clear : std::uint8_t {
        punch,  ///< give the space back; afterwards it reads as zeroes
        zero,   ///< zeroes, with the space kept
    };

    /// At most `depth` operations at once. The file and the loop outlive the object.
    [[nodiscard]] static Result<std::unique_ptr<DiskIo>> create(const DiskFile& file, IoLoop& loop, unsigned depth);
    /// On the loop's thread, or once the loop has stopped. Waits for what the kernel has in hand and forgets it.
    ~DiskIo();
    DiskIo(const DiskIo&) = delete;
    DiskIo& operator=(const DiskIo&) = delete;

    [[nodiscard]] unsigned depth() const { return static_cast<unsigned>(slots_.size()); }
    [[nodiscard]] unsigned in_flight() const { return depth() - static_cast<unsigned>(free_.size()); }

    // ---- begin an operation: in_flight() < depth(); the kernel sees it at the next submit() ----
    /// All pieces, one after another, at `offset` of the disk. Goes on by itself after a short transfer. With direct
    /// I/O every address and length is a multiple of DiskLimits::block.
    void transfer(Direction direction, std::uint64_t offset, std::span<const iovec> pieces, Done done);
    /// Everything that was written before and has completed is on the medium afterwards.
    void sync(Done done);
    /// EOPNOTSUPP: the file system cannot do that.
    void clear(Clear how, std::uint64_t offset, std::uint64_t bytes, Done done);
    void submit();

private:
    enum class Verb : std::uint8_t { read, write, sync, punch, zero };
    struct Slot {
        Verb verb{};
        unsigned fruitless = 0;  // attempts in a row that moved nothing
        std::uint64_t offset = 0;
        std::uint64_t left = 0;
        std::vector<iovec> pieces;
        std::size_t first = 0;  // piece that is not wholly done
        Done done;
    };

    DiskIo(const DiskFile& file, IoLoop& loop, unsigned depth);

    [[nodiscard]] Slot& take_slot(Verb verb, Done done);
    void queue(Slot& slot);
    void watch();
    void reap();
    void complete(Slot& slot, int result);
    /// errno that ends the operation, 0 when it is complete, -1 when it goes on.
    [[nodiscard]] int account(Slot& slot, int result) const;
    static void skip(Slot& slot, std::uint64_t bytes);

    const DiskFile& file_;
    IoLoop& loop_;
    io_uring ring_{};
    bool open_ = false;
    std::vector<Slot> slots_;
    std::vector<std::uint32_t> free_;
    boost::asio::posix::stream_descriptor event_;  // the ring's eventfd
    std::shared_ptr<DiskIo*> self_;                // what handlers that outlive the object find it by
};

}  // namespace penumbra::vmm
