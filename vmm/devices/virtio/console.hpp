// virtio-console (Virtual I/O Device 1.2, 5.3): one port between the guest and a host file descriptor and a sink.
#pragma once

#include <array>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/counters.hpp"
#include "base/unique_fd.hpp"
#include "vmm/devices/virtio/virtio_device.hpp"

namespace penumbra::vmm {

struct ConsoleOptions {
    std::string name = "console";
    /// What the guest prints, in pieces, on the loop; must not wait.
    std::function<void(std::string_view)> sink;
    /// Where its input comes from: a pipe, socket or terminal, which becomes non-blocking. None: no input. At its end
    /// input ends.
    UniqueFd input;
    std::uint16_t columns = 0;  ///< both 0: the size is not known
    std::uint16_t rows = 0;
    std::function<void(std::string_view)> on_trouble;  ///< see VirtioSpec
};

/// Input is read only as far as a small buffer holds: a guest that takes none leaves it with the host.
class VirtioConsole final : public VirtioDevice {
public:
    VirtioConsole(ConsoleOptions options, DmaService& dma, IoLoop& loop);
    ~VirtioConsole() override;

    /// The terminal has another size. Any thread.
    void resize(std::uint16_t columns, std::uint16_t rows);

    [[nodiscard]] std::uint64_t bytes_printed() const { return printed_.get(); }
    [[nodiscard]] std::uint64_t bytes_typed() const { return typed_.get(); }

    static constexpr unsigned receive_queue = 0;
    static constexpr unsigned transmit_queue = 1;
    static constexpr std::uint64_t feature_size = 1U << 0;

protected:
    void activated() override { read_input(); }
    void take(unsigned queue, Chain chain) override;
    void resumed() override;
    void forget() override;

private:
    static constexpr std::size_t piece_bytes = 4096;
    static constexpr unsigned pieces_per_turn = 16;
    /// What is being done for one direction. The cursor points into the front chain's segments.
    struct Direction {
        std::deque<Chain> chains;
        SegmentCursor cursor;
        std::uint32_t filled = 0;
        bool begun = false;  // the cursor is the front chain's
        bool waits = false;  // for a page, or for its next turn
    };

    void print();
    void type();
    void finish_front(unsigned number, Direction& direction);
    void wait_for_page(unsigned number, DmaMiss miss, mmu::FaultAccess access);
    void serve(unsigned number);
    void read_input();
    void input_came(std::size_t bytes, const boost::system::error_code& gone);

    const std::function<void(std::string_view)> sink_;
    std::array<Direction, 2> directions_;  // by queue
    UniqueFd input_fd_;
    std::optional<boost::asio::posix::stream_descriptor> input_;
    bool reading_ = false;
    std::array<std::byte, piece_bytes> typed_bytes_{};
    std::size_t typed_begin_ = 0;
    std::size_t typed_end_ = 0;
    std::uint32_t life_ = 0;  // grows with every reset
    Counter printed_;
    Counter typed_;
};

}  // namespace penumbra::vmm
