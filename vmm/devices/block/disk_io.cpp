#include "vmm/devices/block/disk_io.hpp"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "base/assert.hpp"

namespace penumbra::vmm {

namespace {

constexpr unsigned fruitless_allowed = 8;
constexpr int goes_on = -1;

}  // namespace

Result<std::unique_ptr<DiskIo>> DiskIo::create(const DiskFile& file, IoLoop& loop, unsigned depth) {
    std::unique_ptr<DiskIo> made{new DiskIo(file, loop, depth)};
    if (const int rc = io_uring_queue_init(depth, &made->ring_, 0); rc < 0) {
        const bool forbidden = rc == -EPERM || rc == -EACCES || rc == -ENOSYS;
        return std::unexpected{Error{"make an I/O ring for the disk", file.options().path, -rc,
                                     forbidden ? "allow io_uring: sysctl kernel.io_uring_disabled=0, or a container "
                                                 "profile that has it"
                                               : "raise the limits on open files and locked memory"}};
    }
    made->open_ = true;
    const int event = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event < 0)
        return fail_errno("make an event for the disk", file.options().path, "raise the limit on open files");
    boost::system::error_code error;
    made->event_.assign(event, error);
    if (error) {
        ::close(event);
        return std::unexpected{Error{"watch the disk's I/O ring", file.options().path, error.value(), ""}};
    }
    if (const int rc = io_uring_register_eventfd(&made->ring_, event); rc < 0) {
        return std::unexpected{Error{"watch the disk's I/O ring", file.options().path, -rc, ""}};
    }
    made->watch();
    return made;
}

DiskIo::DiskIo(const DiskFile& file, IoLoop& loop, unsigned depth)
    : file_(file), loop_(loop), slots_(depth), event_(loop.context()), self_(std::make_shared<DiskIo*>(this)) {
    free_.reserve(depth);
    for (std::uint32_t i = depth; i-- > 0;) free_.push_back(i);
}

DiskIo::~DiskIo() {
    *self_ = nullptr;
    if (!open_) return;
    // The kernel may still write into the callers' memory, so it is waited for; nobody is told any more.
    while (in_flight() > 0) {
        const int rc = io_uring_submit_and_wait(&ring_, 1);
        PENUMBRA_ASSERT(rc >= 0 || rc == -EINTR || rc == -EAGAIN || rc == -EBUSY, "the disk's I/O ring is broken");
        io_uring_cqe* done = nullptr;
        while (io_uring_peek_cqe(&ring_, &done) == 0 && done != nullptr) {
            free_.push_back(static_cast<std::uint32_t>(io_uring_cqe_get_data64(done)));
            io_uring_cqe_seen(&ring_, done);
        }
    }
    io_uring_queue_exit(&ring_);
}

void DiskIo::transfer(Direction direction, std::uint64_t offset, std::span<const iovec> pieces, Done done) {
    Slot& slot = take_slot(direction == Direction::read ? Verb::read : Verb::write, std::move(done));
    slot.offset = offset;
    slot.pieces.assign(pieces.begin(), pieces.end());
    slot.first = 0;
    slot.left = 0;
    for (const iovec& piece : pieces) slot.left += piece.iov_len;
    queue(slot);
}

void DiskIo::sync(Done done) { queue(take_slot(Verb::sync, std::move(done))); }

void DiskIo::clear(Clear how, std::uint64_t offset, std::uint64_t bytes, Done done) {
    Slot& slot = take_slot(how == Clear::punch ? Verb::punch : Verb::zero, std::move(done));
    slot.offset = offset;
    slot.left = bytes;
    queue(slot);
}

DiskIo::Slot& DiskIo::take_slot(Verb verb, Done done) {
    PENUMBRA_ASSERT(!free_.empty(), "more operations than the disk's ring is deep");
    Slot& slot = slots_[free_.back()];
    free_.pop_back();
    slot.verb = verb;
    slot.fruitless = 0;
    slot.done = std::move(done);
    return slot;
}

void DiskIo::queue(Slot& slot) {
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    PENUMBRA_ASSERT(entry != nullptr, "an operation has at most one entry in the ring");
    const iovec* pieces = slot.pieces.data() + slot.first;
    const auto count = static_cast<unsigned>(slot.pieces.size() - slot.first);
    const auto offset = static_cast<off_t>(slot.offset);
    const auto bytes = static_cast<off_t>(slot.left);
    switch (slot.verb) {
        case Verb::read:
            io_uring_prep_readv(entry, file_.fd(), pieces, count, slot.offset);
            break;
        case Verb::write:
            io_uring_prep_writev(entry, file_.fd(), pieces, count, slot.offset);
            break;
        case Verb::sync:
            io_uring_prep_fsync(entry, file_.fd(), IORING_FSYNC_DATASYNC);
            break;
        case Verb::punch:
            io_uring_prep_fallocate(entry, file_.fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, bytes);
            break;
        case Verb::zero:
            io_uring_prep_fallocate(entry, file_.fd(), FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, bytes);
            break;
    }
    io_uring_sqe_set_data64(entry, static_cast<std::uint64_t>(&slot - slots_.data()));
}

void DiskIo::submit() {
    while (io_uring_sq_ready(&ring_) > 0) {
        const int rc = io_uring_submit(&ring_);
        if (rc > 0 || rc == -EINTR) continue;
        PENUMBRA_ASSERT(rc == 0 || rc == -EAGAIN || rc == -EBUSY, "the disk's I/O ring is broken");
        // The kernel is short of memory, or wants completions fetched first: in the loop's next turn.
        loop_.post([self = self_] {
            if (*self == nullptr) return;
            (*self)->reap();
        });
        return;
    }
}

void DiskIo::watch() {
    event_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                      [self = self_](const boost::system::error_code& error) {
                          if (error || *self == nullptr) return;
                          (*self)->reap();
                          if (*self != nullptr) (*self)->watch();
                      });
}

void DiskIo::reap() {
    std::uint64_t signals = 0;
    // Before the completions are fetched: one that comes later signals again.
    if (::read(event_.native_handle(), &signals, sizeof(signals)) < 0) signals = 0;
    const std::shared_ptr<DiskIo*> self = self_;
    for (unsigned seen = 0; seen < depth(); ++seen) {
        io_uring_cqe* done = nullptr;
        if (io_uring_peek_cqe(&ring_, &done) != 0 || done == nullptr) return submit();
        Slot& slot = slots_[io_uring_cqe_get_data64(done)];
        const int result = done->res;
        io_uring_cqe_seen(&ring_, done);
        complete(slot, result);
        if (*self == nullptr) return;  // its owner destroyed it
    }
    submit();
    // Others may want the loop too: the rest comes in its next turn.
    loop_.post([self] {
        if (*self != nullptr) (*self)->reap();
    });
}

void DiskIo::complete(Slot& slot, int result) {
    const int error_number = account(slot, result);
    if (error_number == goes_on) return queue(slot);
    Done done = std::move(slot.done);
    slot.pieces.clear();
    free_.push_back(static_cast<std::uint32_t>(&slot - slots_.data()));
    done(error_number);
}

int DiskIo::account(Slot& slot, int result) const {
    if (result == -EINTR || result == -EAGAIN) return ++slot.fruitless < fruitless_allowed ? goes_on : -result;
    if (result < 0) return -result;
    if (slot.verb != Verb::read && slot.verb != Verb::write) return 0;
    std::uint64_t done = std::min(static_cast<std::uint64_t>(result), slot.left);
    if (done == slot.left) return 0;
    if (done == 0 && slot.verb == Verb::read) return disk_ended;
    // Direct I/O goes on from a whole block.
    if (file_.direct()) done -= done % file_.limits().block;
    if (done == 0) return ++slot.fruitless < fruitless_allowed ? goes_on : EIO;
    slot.fruitless = 0;
    skip(slot, done);
    return goes_on;
}

void DiskIo::skip(Slot& slot, std::uint64_t bytes) {
    slot.offset += bytes;
    slot.left -= bytes;
    while (bytes > 0) {
        iovec& piece = slot.pieces[slot.first];
        const std::uint64_t part = std::min<std::uint64_t>(bytes, piece.iov_len);
        piece.iov_base = static_cast<std::byte*>(piece.iov_base) + part;
        piece.iov_len -= part;
        bytes -= part;
        if (piece.iov_len == 0) ++slot.first;
    }
}

}  // namespace penumbra::vmm
