#include "tests/support/net_bench.hpp"

#include <cstring>
#include <future>

#include "base/assert.hpp"
#include "tests/support/dma_loop.hpp"

namespace penumbra::test {

namespace {

constexpr std::uint64_t ring_pages = 8;

}  // namespace

NetBench::NetBench(vmm::DmaService& service, GuestView view, Gpa memory, const MakeCard& make)
    : memory_(std::move(view)),
      memory_begin_(memory),
      slots_begin_(memory + ring_pages * page_bytes),
      driver_([&]() -> VirtioDriver {
          vmm::NetSetup setup;
          setup.name = "net0";
          setup.identity = "a test";
          setup.on_trouble = [this](std::string_view line) {
              const MutexLock lock(mutex_);
              complaints_.emplace_back(line);
          };
          device_ = make(setup, service, loop_);
          transport_.emplace(*device_, vmm::VirtioMmio::Place{}, interrupts_, nullptr);
          registers_.emplace(*transport_);
          return {memory_, *registers_};
      }()) {
    loop_.start();
}

NetBench::~NetBench() {
    transport_->release_waiters();
    loop_.stop();
}

bool NetBench::send(const Frame& frame) {
    if (gathered_) {
        gathered_->push_back(frame);
        return true;
    }
    add_send(frame, slot(0));
    driver_.kick(tx);
    return driver_.wait(tx).has_value();
}

void NetBench::add_send(const Frame& frame, Gpa at) {
    PENUMBRA_ASSERT(vmm::net_header_bytes + frame.bytes.size() <= slot_bytes, "the frame fits its slot");
    memory_.put(at, frame.header);
    memory_.write(at + vmm::net_header_bytes, frame.bytes);
    const auto bytes = static_cast<std::uint32_t>(vmm::net_header_bytes + frame.bytes.size());
    const bool added = driver_.queue(tx).add({device_reads(at, bytes)}).has_value();
    PENUMBRA_ASSERT(added, "a descriptor is free");
}

bool NetBench::send_gathered() {
    const std::vector<Frame> frames = std::exchange(gathered_, std::nullopt).value();
    for (std::size_t i = 0; i < frames.size(); ++i) add_send(frames[i], end() + i * slot_bytes);
    driver_.kick(tx);
    for (std::size_t i = 0; i < frames.size(); ++i) {
        if (!driver_.wait(tx)) return false;
    }
    return true;
}

void NetBench::give_buffers(unsigned count, std::uint32_t bytes) {
    PENUMBRA_ASSERT(count <= slots && bytes <= slot_bytes, "the bench has that many slots, and that large");
    buffer_bytes_ = bytes;
    for (unsigned i = 1; i <= count; ++i) give(i);
}

void NetBench::give(unsigned number) {
    slot_of_head_[driver_.submit(rx, {device_writes(slot(number), buffer_bytes_)})] = number;
}

std::optional<Frame> NetBench::receive(std::chrono::milliseconds patience) {
    Frame frame;
    std::vector<std::byte> bytes;
    for (unsigned left = 1; left > 0; --left) {
        std::optional<DriverQueue::Done> done;
        if (!becomes_true([&] { return (done = driver_.queue(rx).take()).has_value(); }, patience)) return std::nullopt;
        const unsigned from = slot_of_head_[done->head];
        const std::size_t before = bytes.size();
        bytes.resize(before + done->written);
        memory_.read(slot(from), std::span(bytes).subspan(before));
        if (before == 0) {
            PENUMBRA_ASSERT(done->written >= vmm::net_header_bytes, "a frame begins with a header");
            std::memcpy(&frame.header, bytes.data(), sizeof(frame.header));
            left = frame.header.num_buffers;
        }
        give(from);
    }
    frame.bytes.assign(bytes.begin() + vmm::net_header_bytes, bytes.end());
    return frame;
}

void NetBench::pause() {
    std::promise<void> paused;
    device_->pause([&] { paused.set_value(); });
    paused.get_future().wait();
}

void NetBench::resume() {
    device_->resume();
    sync();
}

void NetBench::sync() {
    std::promise<void> ran;
    loop_.post([&ran] { ran.set_value(); });
    ran.get_future().get();
}

std::vector<std::string> NetBench::complaints() {
    const MutexLock lock(mutex_);
    return complaints_;
}

}  // namespace penumbra::test
