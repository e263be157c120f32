// The guest's side of virtqueues: a driver that builds rings in guest memory and talks to its device through the
// transport's registers only.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <vector>

#include "base/address.hpp"
#include "tests/support/guest_view.hpp"
#include "tests/support/virtio_registers.hpp"
#include "vmm/devices/virtio/virtio_features.hpp"

namespace penumbra::test {

/// What a descriptor says.
struct Buffer {
    Gpa at;
    std::uint32_t bytes = 0;
    enum class Use : std::uint8_t { device_reads, device_writes } use = Use::device_reads;
};
[[nodiscard]] constexpr Buffer device_reads(Gpa at, std::uint32_t bytes) {
    return {at, bytes, Buffer::Use::device_reads};
}
[[nodiscard]] constexpr Buffer device_writes(Gpa at, std::uint32_t bytes) {
    return {at, bytes, Buffer::Use::device_writes};
}

/// One split virtqueue as a driver keeps it. One thread.
class DriverQueue {
public:
    struct Descriptor {
        std::uint64_t address = 0;
        std::uint32_t length = 0;
        std::uint16_t flags = 0;
        std::uint16_t next = 0;
    };
    static constexpr std::uint16_t flag_next = 1;
    static constexpr std::uint16_t flag_write = 2;
    static constexpr std::uint16_t flag_indirect = 4;

    /// The three areas one after the other from `first` (page-aligned), each on pages of its own; `end`: what follows.
    static RingPlace place_at(Gpa first, std::uint16_t size, Gpa* end = nullptr);

    /// Clears the rings' memory.
    DriverQueue(GuestView& memory, const RingPlace& place, std::uint64_t features);

    /// The chain's head; nullopt: no descriptors are free. It becomes available with the next publish().
    [[nodiscard]] std::optional<std::uint16_t> add(std::span<const Buffer> buffers);
    [[nodiscard]] std::optional<std::uint16_t> add(std::initializer_list<Buffer> buffers) {
        return add(std::span(buffers.begin(), buffers.size()));
    }
    /// The same by a table at `table`, which has 16 bytes per buffer and belongs to the chain until it comes back.
    [[nodiscard]] std::optional<std::uint16_t> add_indirect(std::span<const Buffer> buffers, Gpa table);
    enum class Wish : std::uint8_t { notify, quiet };
    /// Makes what was added available; whether the device wants to hear of it.
    [[nodiscard]] Wish publish();

    struct Done {
        std::uint16_t head = 0;
        std::uint32_t written = 0;
    };
    /// The next chain that came back, whose descriptors are free again.
    [[nodiscard]] std::optional<Done> take();
    /// Asks for an interrupt with the next used chain. True: there is one already, look again.
    [[nodiscard]] bool ask_for_interrupt();
    void refuse_interrupts();

    [[nodiscard]] std::uint16_t size() const { return place_.size; }
    [[nodiscard]] const RingPlace& place() const { return place_; }
    [[nodiscard]] std::size_t in_flight() const { return in_flight_; }

    // ---- for drivers that break the rules ----
    void put_descriptor(std::uint16_t index, const Descriptor& descriptor);
    /// As if `head` had been added.
    void push_head(std::uint16_t head);
    void set_available_index(std::uint16_t index) { memory_.store16(place_.available + 2, index); }

private:
    static Descriptor describe(const Buffer& buffer);

    GuestView& memory_;
    const RingPlace place_;
    const bool event_index_;
    std::vector<std::uint16_t> free_;
    std::vector<std::vector<std::uint16_t>> chains_;  // by head: the descriptors
    std::uint16_t added_ = 0;
    std::uint16_t published_ = 0;
    std::uint16_t taken_ = 0;
    std::size_t in_flight_ = 0;
};

/// Brings a device up and moves chains. One thread.
class VirtioDriver {
public:
    VirtioDriver(GuestView& memory, VirtioRegisters& registers) : memory_(memory), registers_(registers) {}

    static constexpr std::uint64_t all_features = ~std::uint64_t{0};
    /// Reset to DRIVER_OK, with the features that are offered and in `wanted` (and VERSION_1), and queues of `size` (or
    /// the device's maximum) one after the other from `rings` on. False: the device refused.
    [[nodiscard]] bool start(Gpa rings, std::uint16_t size = 64, std::uint64_t wanted = all_features);
    /// The same up to FEATURES_OK.
    [[nodiscard]] bool negotiate(std::uint64_t wanted = all_features);

    [[nodiscard]] DriverQueue& queue(unsigned number) { return queues_[number]; }
    [[nodiscard]] std::uint64_t features() const { return features_; }
    /// The first byte behind the rings.
    [[nodiscard]] Gpa rings_end() const { return rings_end_; }
    [[nodiscard]] VirtioRegisters& registers() { return registers_; }
    [[nodiscard]] GuestView& memory() { return memory_; }

    /// publish(), and notify if the device wants it.
    void kick(unsigned queue);
    /// add() and kick(). Asserts that descriptors are free.
    std::uint16_t submit(unsigned queue, std::initializer_list<Buffer> buffers);
    /// The next chain that comes back; nullopt when ten seconds passed.
    [[nodiscard]] std::optional<DriverQueue::Done> wait(unsigned queue);

private:
    GuestView& memory_;
    VirtioRegisters& registers_;
    std::vector<DriverQueue> queues_;
    std::uint64_t features_ = 0;
    Gpa rings_end_;
};

}  // namespace penumbra::test
