#include "tests/support/block_bench.hpp"

#include <future>

#include "base/assert.hpp"

namespace penumbra::test {

namespace {

constexpr std::uint64_t ring_pages = 8;
constexpr std::uint64_t status_offset = 16;

}  // namespace

BlockBench::BlockBench(vmm::DmaService& service, GuestView view, vmm::DiskOptions disk, Gpa memory)
    : memory_(std::move(view)),
      rings_(memory),
      notes_(memory + ring_pages * page_bytes),
      driver_([&]() -> VirtioDriver {
          vmm::BlockSetup setup;
          setup.disk = std::move(disk);
          setup.name = "disk0";
          setup.on_trouble = [this](std::string_view line) {
              const MutexLock lock(mutex_);
              complaints_.emplace_back(line);
          };
          auto made = vmm::BlockDevice::create(std::move(setup), service, loop_);
          if (!made) assertion_failed("a disk", __FILE__, __LINE__, made.error().message());
          device_ = std::move(*made);
          transport_.emplace(*device_, vmm::VirtioMmio::Place{}, interrupts_, nullptr);
          registers_.emplace(*transport_);
          return {memory_, *registers_};
      }()) {
    loop_.start();
}

BlockBench::~BlockBench() {
    transport_->release_waiters();
    loop_.stop();
}

bool BlockBench::start(std::uint64_t features) {
    busy_.assign(queue_size, false);
    return driver_.start(rings_, queue_size, features);
}

unsigned BlockBench::begin(const BlockAsk& ask) {
    static_assert(sizeof(virtio_blk_outhdr) == status_offset);
    // A head is free only once its request has been answered, so the slots of heads never overlap; but the head is
    // known only after the chain was made: one slot per request in flight, in turn.
    static_assert(queue_size * 64 <= (pages - ring_pages) * page_bytes);
    unsigned slot = 0;
    while (slot < queue_size && busy_[slot]) ++slot;
    PENUMBRA_ASSERT(slot < queue_size, "the test has more requests than its queue");
    busy_[slot] = true;
    const Gpa header = header_of(slot);
    memory_.put(header, virtio_blk_outhdr{ask.type, 0, ask.sector});
    memory_.put(header + status_offset, no_status);
    std::vector<Buffer> chain{device_reads(header, sizeof(virtio_blk_outhdr))};
    chain.insert(chain.end(), ask.data.begin(), ask.data.end());
    chain.push_back(device_writes(header + status_offset, 1));
    const std::optional<std::uint16_t> head = driver_.queue(0).add(chain);
    PENUMBRA_ASSERT(head.has_value(), "the test's queue has no descriptors left");
    driver_.kick(0);
    request_of_head_[*head] = slot;
    return slot;
}

BlockBench::Answer BlockBench::answer_for(DriverQueue::Done done) {
    const unsigned slot = request_of_head_[done.head];
    busy_[slot] = false;
    return {slot, memory_.get<std::uint8_t>(header_of(slot) + status_offset), done.written};
}

std::optional<BlockBench::Answer> BlockBench::wait() {
    const std::optional<DriverQueue::Done> done = driver_.wait(0);
    if (!done) return std::nullopt;
    return answer_for(*done);
}

std::optional<BlockBench::Answer> BlockBench::look() {
    const std::optional<DriverQueue::Done> done = driver_.queue(0).take();
    if (!done) return std::nullopt;
    return answer_for(*done);
}

std::uint8_t BlockBench::run(const BlockAsk& ask) {
    (void)begin(ask);
    const std::optional<Answer> answer = wait();
    return answer ? answer->status : no_status;
}

void BlockBench::pause() {
    std::promise<void> paused;
    device_->pause([&] { paused.set_value(); });
    paused.get_future().wait();
}

void BlockBench::resume() { device_->resume(); }

std::vector<std::string> BlockBench::complaints() {
    const MutexLock lock(mutex_);
    return complaints_;
}

}  // namespace penumbra::test
