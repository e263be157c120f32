#include "tests/support/echo_device.hpp"

#include <algorithm>
#include <utility>

namespace penumbra::test {

using vmm::Chain;
using vmm::Copied;
using vmm::DmaGrant;
using vmm::DmaMiss;
using vmm::SegmentCursor;
using vmm::VirtioSpec;

VirtioSpec EchoDevice::spec_of(EchoDevice& self, const EchoOptions& options) {
    VirtioSpec spec;
    spec.id = vmm::VirtioId::console;
    spec.name = "echo";
    spec.features = own_feature;
    spec.queues.assign(options.queues, {.max_size = options.queue_size, .delivery = options.delivery});
    for (std::size_t i = 0; i < config_size; ++i) spec.config.push_back(static_cast<std::byte>(i));
    spec.config_writable.assign(config_first_writable, std::byte{0});
    spec.config_writable.resize(config_size, std::byte{0xFF});
    spec.on_trouble = [&self](std::string_view line) {
        const MutexLock lock(self.mutex_);
        self.trouble_.emplace_back(line);
    };
    return spec;
}

EchoDevice::EchoDevice(vmm::DmaService& dma, vmm::IoLoop& loop, const EchoOptions& options)
    : VirtioDevice(spec_of(*this, options), dma, loop) {}

std::vector<std::string> EchoDevice::trouble() {
    const MutexLock lock(mutex_);
    return trouble_;
}

std::vector<std::uint64_t> EchoDevice::order() {
    const MutexLock lock(mutex_);
    return order_;
}

void EchoDevice::activated() {
    negotiated_ = features();
    ++activations_;
}

void EchoDevice::take(unsigned number, Chain chain) {
    if (!running()) ++wrong_;
    {
        const MutexLock lock(mutex_);
        order_.push_back(chain.sequence);
    }
    works_.push_back({.queue = number, .chain = std::move(chain), .from = {}, .to = {}});
    Work& work = works_.back();
    work.from = SegmentCursor(work.chain.readable);
    work.to = SegmentCursor(work.chain.writable);
    ++taken_;
    if (!keep_) echo(std::prev(works_.end()));
}

void EchoDevice::wait_for_page(Works::iterator work, DmaMiss miss, mmu::FaultAccess access) {
    if (miss == DmaMiss::not_ram) return queue(work->queue).fail("a buffer lies outside of RAM");
    work->waits = true;
    want(dma().missing(), access, [this, work](DmaGrant grant) {
        work->waits = false;
        if (grant == DmaGrant::not_ram) return queue(work->queue).fail("a buffer lies outside of RAM");
        echo(work);
    });
}

void EchoDevice::echo(Works::iterator work) {
    if (!running()) return;
    while (work->to.left() > 0 && (work->begin < work->end || work->from.left() > 0)) {
        if (work->begin == work->end) {
            const Copied in = copy_from_guest(dma(), work->from, work->piece);
            work->begin = 0;
            work->end = in.bytes;
            if (in.bytes == 0) return wait_for_page(work, *in.stopped, mmu::FaultAccess::read);
        }
        const std::span<const std::byte> piece(work->piece);
        const Copied out = copy_to_guest(dma(), work->to, piece.subspan(work->begin, work->end - work->begin));
        work->begin += out.bytes;
        work->written += static_cast<std::uint32_t>(out.bytes);
        if (out.stopped) return wait_for_page(work, *out.stopped, mmu::FaultAccess::write);
    }
    const Work done = std::move(*work);
    works_.erase(work);
    queue(done.queue).complete(done.chain, done.written);
}

void EchoDevice::resumed() {
    for (auto next = works_.begin(); next != works_.end();) {
        const auto work = next++;
        if (!work->waits && !keep_) echo(work);
    }
}

void EchoDevice::echo_kept() {
    loop().post([this] {
        keep_ = false;
        const vmm::Virtqueue::Batch batch(queue(0));
        std::vector<Works::iterator> newest_first;  // echo() erases
        for (auto work = works_.begin(); work != works_.end(); ++work) newest_first.insert(newest_first.begin(), work);
        for (const auto work : newest_first) {
            if (!work->waits) echo(work);
        }
    });
}

void EchoDevice::quiesce(Done done) {
    if (!busy_) return done();
    unsettled_.push_back(std::move(done));
}

void EchoDevice::settle() {
    loop().post([this] {
        busy_ = false;
        for (const Done& done : std::exchange(unsettled_, {})) done();
    });
}

void EchoDevice::forget() {
    works_.clear();
    ++forgets_;
}

void EchoDevice::set_config(std::size_t offset, std::uint8_t value) {
    loop().post([this, offset, value] {
        config().set(offset, std::array{static_cast<std::byte>(value)});
        config_changed();
    });
}

void EchoDevice::break_down() {
    loop().post([this] { fail("the test said so"); });
}

}  // namespace penumbra::test
