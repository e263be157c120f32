#include "vmm/devices/virtio/console.hpp"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <utility>
#include <vector>

namespace penumbra::vmm {

namespace {

// The configuration space (5.3.4): columns, rows, number of ports.
constexpr std::size_t config_bytes = 8;

std::array<std::byte, 4> size_field(std::uint16_t columns, std::uint16_t rows) {
    return {static_cast<std::byte>(columns), static_cast<std::byte>(columns >> 8), static_cast<std::byte>(rows),
            static_cast<std::byte>(rows >> 8)};
}

VirtioSpec spec_of(const ConsoleOptions& options) {
    VirtioSpec spec;
    spec.id = VirtioId::console;
    spec.name = options.name;
    spec.features = options.columns > 0 ? VirtioConsole::feature_size : 0;
    spec.queues = {{.max_size = 64, .delivery = Delivery::as_ready}, {.max_size = 64, .delivery = Delivery::in_order}};
    spec.config.resize(config_bytes);
    std::ranges::copy(size_field(options.columns, options.rows), spec.config.begin());
    spec.config[4] = std::byte{1};
    spec.on_trouble = options.on_trouble;
    return spec;
}

}  // namespace

VirtioConsole::VirtioConsole(ConsoleOptions options, DmaService& dma, IoLoop& device_loop)
    : VirtioDevice(spec_of(options), dma, device_loop),
      sink_(std::move(options.sink)),
      input_fd_(std::move(options.input)) {
    if (!input_fd_) return;
    input_.emplace(loop().context());
    boost::system::error_code refused;
    input_->assign(input_fd_.get(), refused);
    if (!refused) return;
    input_.reset();
    if (options.on_trouble) options.on_trouble(options.name + ": cannot watch the input: " + refused.message());
}

VirtioConsole::~VirtioConsole() {
    if (input_) input_->release();
}

void VirtioConsole::resize(std::uint16_t columns, std::uint16_t rows) {
    config().set(0, size_field(columns, rows));
    config_changed();
}

// ---- both directions ----

void VirtioConsole::take(unsigned number, Chain chain) {
    directions_[number].chains.push_back(std::move(chain));
    serve(number);
}

void VirtioConsole::serve(unsigned number) {
    if (!running() || directions_[number].waits) return;
    if (number == transmit_queue) {
        print();
    } else {
        type();
    }
}

void VirtioConsole::resumed() {
    serve(transmit_queue);
    serve(receive_queue);
    read_input();
}

void VirtioConsole::forget() {
    ++life_;
    directions_ = {};
}

void VirtioConsole::finish_front(unsigned number, Direction& direction) {
    const Chain chain = std::move(direction.chains.front());
    direction.chains.pop_front();
    direction.begun = false;
    queue(number).complete(chain, std::exchange(direction.filled, 0));
}

void VirtioConsole::wait_for_page(unsigned number, DmaMiss miss, mmu::FaultAccess access) {
    if (miss == DmaMiss::not_ram) return queue(number).fail("a console buffer lies outside of RAM");
    directions_[number].waits = true;
    want(dma().missing(), access, [this, number](DmaGrant grant) {
        directions_[number].waits = false;
        if (grant == DmaGrant::not_ram) return queue(number).fail("a console buffer lies outside of RAM");
        serve(number);
    });
}

// ---- from the guest ----

void VirtioConsole::print() {
    Direction& direction = directions_[transmit_queue];
    const Virtqueue::Batch batch(queue(transmit_queue));
    std::array<std::byte, piece_bytes> piece;
    for (unsigned pieces = 0; !direction.chains.empty() && queue(transmit_queue).running(); ++pieces) {
        if (pieces == pieces_per_turn) {
            // A chain may have 2^32 bytes: others on this loop have their turn.
            direction.waits = true;
            loop().post([this, life = life_] {
                if (life != life_) return;
                directions_[transmit_queue].waits = false;
                serve(transmit_queue);
            });
            return;
        }
        if (!std::exchange(direction.begun, true)) direction.cursor = SegmentCursor(direction.chains.front().readable);
        const Copied copied = copy_from_guest(dma(), direction.cursor, piece);
        printed_.add(copied.bytes);
        if (copied.bytes > 0 && sink_) sink_({reinterpret_cast<const char*>(piece.data()), copied.bytes});
        if (copied.stopped) return wait_for_page(transmit_queue, *copied.stopped, mmu::FaultAccess::read);
        if (direction.cursor.left() == 0) finish_front(transmit_queue, direction);
    }
}

// ---- to the guest ----

void VirtioConsole::type() {
    Direction& direction = directions_[receive_queue];
    {
        const Virtqueue::Batch batch(queue(receive_queue));
        while (typed_begin_ < typed_end_ && !direction.chains.empty() && queue(receive_queue).running()) {
            if (!std::exchange(direction.begun, true)) {
                direction.cursor = SegmentCursor(direction.chains.front().writable);
            }
            const std::span<const std::byte> bytes(typed_bytes_);
            const Copied copied =
                copy_to_guest(dma(), direction.cursor, bytes.subspan(typed_begin_, typed_end_ - typed_begin_));
            typed_begin_ += copied.bytes;
            typed_.add(copied.bytes);
            direction.filled += static_cast<std::uint32_t>(copied.bytes);
            // A buffer that has something need not be full, and waits for no page.
            if (copied.stopped && copied.bytes == 0) {
                return wait_for_page(receive_queue, *copied.stopped, mmu::FaultAccess::write);
            }
            finish_front(receive_queue, direction);
        }
    }
    read_input();
}

void VirtioConsole::read_input() {
    if (!input_ || reading_ || typed_begin_ < typed_end_ || !running()) return;
    reading_ = true;
    input_->async_read_some(boost::asio::buffer(typed_bytes_), [this](const boost::system::error_code& gone,
                                                                      std::size_t bytes) { input_came(bytes, gone); });
}

void VirtioConsole::input_came(std::size_t bytes, const boost::system::error_code& gone) {
    reading_ = false;
    if (gone) {
        // Its end, or nothing that can be read.
        input_->release();
        input_.reset();
        return;
    }
    typed_begin_ = 0;
    typed_end_ = bytes;
    serve(receive_queue);
}

}  // namespace penumbra::vmm
