#include "vmm/memory/tier/io_ring.hpp"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "base/planted.hpp"
#include "base/schedule_point.hpp"

namespace penumbra::vmm {

namespace {

constexpr unsigned attempts_allowed = 8;  // in all; each either ends a request, moves it on, or counts against it

[[nodiscard]] bool complete(const IoRequest& request) {
    return request.error_number != 0 || request.done == request.bytes;
}

/// Takes a transfer's result into its request. Progress counts in whole blocks, so that direct I/O can go on from
/// there.
void account(IoRequest& request, int result) {
    if (result == -EINTR || result == -EAGAIN) return;
    if (result < 0) {
        request.error_number = -result;
        return;
    }
    const std::size_t done = std::min(request.done + static_cast<std::size_t>(result), request.bytes);
    request.done = done / io_block_bytes * io_block_bytes;
}

}  // namespace

Result<IoRing> IoRing::create(int fd, unsigned depth, std::size_t buffer_bytes, IoMode wanted, IoBuffer buffer) {
    PENUMBRA_TRY_ASSIGN(auto memory, MappedRegion::anonymous(buffer_bytes));
    IoRing made{fd, std::move(memory)};
    if (wanted == IoMode::blocking) return made;
    auto ring = std::make_unique<io_uring>();
    const int rc = io_uring_queue_init(depth, ring.get(), 0);
    if (rc == -EPERM || rc == -ENOSYS || rc == -EACCES) return made;
    if (rc < 0) {
        return std::unexpected{Error{"make an I/O ring", std::to_string(depth) + " entries", -rc,
                                     "raise the limits on open files and locked memory"}};
    }
    made.ring_.reset(ring.release());
    if (buffer == IoBuffer::registered) {
        const iovec vector{made.buffer_.data(), made.buffer_.size()};
        made.registered_ = io_uring_register_buffers(made.ring_.get(), &vector, 1) == 0;
    }
    return made;
}

void IoRing::transfer(IoDirection direction, std::span<IoRequest> requests) {
    for (IoRequest& request : requests) {
        request.done = 0;
        request.error_number = 0;
        if (direction == IoDirection::write && planted(Plant::full_disk)) request.error_number = ENOSPC;
    }
    for (unsigned attempts = 0; attempts < attempts_allowed; ++attempts) {
        for (unsigned turn = 0; turn < 6; ++turn) schedule_point(Step::host, this);  // a disk takes its time
        if (attempt(direction, requests) == 0) return;
    }
    for (IoRequest& request : requests) {
        if (!complete(request)) request.error_number = io_stayed_short;
    }
}

std::size_t IoRing::attempt(IoDirection direction, std::span<IoRequest> requests) {
    if (ring_) {
        attempt_ring(direction, requests);
    } else {
        for (IoRequest& request : requests) {
            if (!complete(request)) attempt_blocking(direction, request);
        }
    }
    return static_cast<std::size_t>(std::ranges::count_if(requests, [](const auto& r) { return !complete(r); }));
}

void IoRing::queue(IoDirection direction, IoRequest& request) {
    io_uring_sqe* entry = io_uring_get_sqe(ring_.get());
    PENUMBRA_ASSERT(entry != nullptr, "more requests than the ring is deep");
    std::byte* data = request.data + request.done;
    const auto left = static_cast<unsigned>(request.bytes - request.done);
    const std::uint64_t offset = request.offset + request.done;
    if (registered_ && direction == IoDirection::read) {
        io_uring_prep_read_fixed(entry, fd_, data, left, offset, 0);
    } else if (registered_) {
        io_uring_prep_write_fixed(entry, fd_, data, left, offset, 0);
    } else if (direction == IoDirection::read) {
        io_uring_prep_read(entry, fd_, data, left, offset);
    } else {
        io_uring_prep_write(entry, fd_, data, left, offset);
    }
    io_uring_sqe_set_data(entry, &request);
}

void IoRing::attempt_ring(IoDirection direction, std::span<IoRequest> requests) {
    unsigned queued = 0;
    for (IoRequest& request : requests) {
        if (complete(request)) continue;
        queue(direction, request);
        ++queued;
    }
    // The buffer belongs to the kernel until every completion is in, so nothing may leave this loop earlier: it ends
    // with the last of `queued` completions, which the kernel owes us. A signal only makes it look again.
    for (unsigned reaped = 0; reaped < queued;) {
        const int rc = io_uring_submit_and_wait(ring_.get(), queued - reaped);
        PENUMBRA_ASSERT(rc >= 0 || rc == -EINTR || rc == -EAGAIN || rc == -EBUSY, "the I/O ring is broken");
        io_uring_cqe* done = nullptr;
        while (io_uring_peek_cqe(ring_.get(), &done) == 0 && done != nullptr) {
            auto& request = *static_cast<IoRequest*>(io_uring_cqe_get_data(done));
            const bool cut_short = direction == IoDirection::read && planted(Plant::short_read);
            account(request, cut_short ? 0 : done->res);
            io_uring_cqe_seen(ring_.get(), done);
            ++reaped;
        }
    }
}

void IoRing::attempt_blocking(IoDirection direction, IoRequest& request) const {
    const iovec vector{request.data + request.done, request.bytes - request.done};
    const auto offset = static_cast<off_t>(request.offset + request.done);
    const ssize_t rc =
        direction == IoDirection::read ? ::preadv(fd_, &vector, 1, offset) : ::pwritev(fd_, &vector, 1, offset);
    const bool cut_short = direction == IoDirection::read && planted(Plant::short_read);
    account(request, cut_short ? 0 : rc < 0 ? -errno : static_cast<int>(rc));
}

}  // namespace penumbra::vmm
