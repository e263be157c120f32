// Reads and writes of whole blocks with many in flight: io_uring with registered buffers, or, where the kernel forbids
// it, preadv and pwritev one after another.
#pragma once

#include <liburing.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/address.hpp"
#include "base/mapped_region.hpp"
#include "base/result.hpp"

namespace penumbra::vmm {

enum class IoMode : std::uint8_t { io_uring, blocking };
enum class IoDirection : std::uint8_t { read, write };
/// Whether the kernel keeps the ring's buffer registered (pinned); it works either way.
enum class IoBuffer : std::uint8_t { registered, plain };

struct IoRequest {
    std::uint64_t offset = 0;   ///< in the file
    std::byte* data = nullptr;  ///< inside the ring's buffer
    std::size_t bytes = 0;      ///< multiple of io_block_bytes
    std::size_t done = 0;       ///< out
    int error_number = 0;       ///< out: 0 when all bytes were transferred
};

/// Whole in every medium: no direct I/O wants more than 4 KiB alignment.
inline constexpr std::size_t io_block_bytes = page_bytes;
/// errno of a transfer that came back short and stayed so.
inline constexpr int io_stayed_short = ENODATA;

/// Owns its buffer. One thread at a time.
class IoRing {
public:
    /// At most `depth` transfers are in flight. `fd` outlives the ring. Wanting io_uring may still give blocking I/O.
    [[nodiscard]] static Result<IoRing> create(int fd, unsigned depth, std::size_t buffer_bytes, IoMode wanted,
                                               IoBuffer buffer);
    IoRing(IoRing&&) = default;
    IoRing& operator=(IoRing&&) = default;

    [[nodiscard]] std::span<std::byte> buffer() const { return buffer_.bytes(); }
    [[nodiscard]] IoMode mode() const { return ring_ ? IoMode::io_uring : IoMode::blocking; }
    [[nodiscard]] std::uint64_t registered_bytes() const { return registered_ ? buffer_.size() : 0; }
    /// Does all requests (at most `depth`) and returns when every one is complete or failed. Short transfers are
    /// continued and interrupted ones repeated, a bounded number of times.
    void transfer(IoDirection direction, std::span<IoRequest> requests);

private:
    struct CloseRing {
        void operator()(io_uring* ring) const {
            io_uring_queue_exit(ring);
            delete ring;
        }
    };

    IoRing(int fd, MappedRegion buffer) : fd_(fd), buffer_(std::move(buffer)) {}

    /// One try at the rest of every request; returns how many made no headway or are incomplete.
    [[nodiscard]] std::size_t attempt(IoDirection direction, std::span<IoRequest> requests);
    void attempt_ring(IoDirection direction, std::span<IoRequest> requests);
    void attempt_blocking(IoDirection direction, IoRequest& request) const;
    void queue(IoDirection direction, IoRequest& request);

    int fd_;
    MappedRegion buffer_;
    std::unique_ptr<io_uring, CloseRing> ring_;  // declared after the buffer: closed first
    bool registered_ = false;
};

}  // namespace penumbra::vmm
