#include "vmm/devices/virtio/virtio_device.hpp"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>

#include "base/assert.hpp"

namespace penumbra::vmm {

/// The eventfd of one queue's notifications.
struct VirtioDevice::Bell {
    explicit Bell(IoLoop& loop) : descriptor(loop.context()) {
        const int fd = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        PENUMBRA_ASSERT(fd >= 0, "no file descriptor is left for a device's queue");
        descriptor.assign(fd);
    }
    boost::asio::posix::stream_descriptor descriptor;
};

VirtioDevice::VirtioDevice(VirtioSpec spec, DmaService& dma, IoLoop& loop)
    : spec_(std::move(spec)),
      features_offered_(spec_.features | virtio_feature::version_1 | virtio_feature::indirect_desc |
                        virtio_feature::event_idx),
      loop_(loop),
      dma_(dma, loop),
      wishes_(dma_),
      config_(spec_.config, spec_.config_writable),
      trouble_(spec_.on_trouble) {
    PENUMBRA_ASSERT(!spec_.queues.empty() && spec_.queues.size() <= max_queues, "a device has 1..64 queues");
    for (unsigned i = 0; i < spec_.queues.size(); ++i) {
        const QueueSpec& wanted = spec_.queues[i];
        queues_.push_back(std::make_unique<Virtqueue>(i, wanted.max_size, wanted.delivery,
                                                      Virtqueue::Parts{loop_, dma_, wishes_, *this}));
        bells_.push_back(std::make_unique<Bell>(loop_));
        watch(i);
    }
}

VirtioDevice::~VirtioDevice() = default;

// ---- notifications ----

void VirtioDevice::watch(unsigned queue) {
    boost::asio::posix::stream_descriptor& bell = bells_[queue]->descriptor;
    bell.async_wait(boost::asio::posix::descriptor_base::wait_read,
                    [this, queue](const boost::system::error_code& gone) {
                        if (gone) return;
                        std::uint64_t count = 0;
                        // Before the look at the ring: a notification from now on rings anew.
                        (void)!::read(doorbell(queue), &count, sizeof(count));
                        if (active_) queues_[queue]->poll();
                        watch(queue);
                    });
}

int VirtioDevice::doorbell(unsigned queue) const { return bells_[queue]->descriptor.native_handle(); }

void VirtioDevice::notify(unsigned queue) {
    const std::uint64_t one = 1;
    // Fails only when 2^64 - 2 rings are waiting already.
    (void)!::write(doorbell(queue), &one, sizeof(one));
}

// ---- life ----

void VirtioDevice::activate(VirtioActivation activation) {
    loop_.post([this, activation = std::move(activation)] { start_queues(activation); });
}

void VirtioDevice::start_queues(const VirtioActivation& activation) {
    features_ = activation.features;
    active_ = true;
    activated();
    for (const VirtioActivation::Queue& queue : activation.queues) {
        queues_[queue.number]->start(queue.settings, features_);
    }
}

void VirtioDevice::quiesce_then(Done done) {
    when_quiet_.push_back(std::move(done));
    wishes_.pause();
    if (quiescing_) return;
    quiescing_ = true;
    const auto settled = [this] {
        quiescing_ = false;
        for (const Done& next : std::exchange(when_quiet_, {})) next();
    };
    if (std::exchange(quiesced_, true)) return settled();
    quiesce(settled);
}

void VirtioDevice::go_on() {
    if (quiet() || !std::exchange(quiesced_, false)) return;
    resumed();
    wishes_.resume();
    for (const auto& queue : queues_) queue->resume();
}

void VirtioDevice::reset(Done done) {
    loop_.post([this, done = std::move(done)] {
        resetting_ = true;
        wishes_.cancel();
        for (const auto& queue : queues_) queue->stop();
        quiesce_then([this, done] {
            finish_reset();
            done();
        });
    });
}

void VirtioDevice::finish_reset() {
    wishes_.cancel();  // those of I/O that ended meanwhile
    forget();
    active_ = false;
    features_ = 0;
    config_.reset_writable();
    resetting_ = false;
    go_on();
}

void VirtioDevice::pause(Done done) {
    loop_.post([this, done = std::move(done)] {
        paused_ = true;
        for (const auto& queue : queues_) queue->pause();
        quiesce_then(done);
    });
}

void VirtioDevice::resume() {
    loop_.post([this] {
        const auto unpause = [this] {
            paused_ = false;
            go_on();
        };
        if (quiescing_) {
            when_quiet_.push_back(unpause);
        } else {
            unpause();
        }
    });
}

// ---- configuration and trouble ----

void VirtioDevice::write_config(std::uint64_t offset, unsigned bytes, std::uint64_t value) {
    if (config_.write(offset, bytes, value) == VirtioConfig::Written::nothing) return;
    if (!config_news_.exchange(true, std::memory_order_acq_rel)) {
        loop_.post([this] {
            config_news_.store(false, std::memory_order_release);
            config_written();
        });
    }
}

void VirtioDevice::config_changed() {
    if (events_ != nullptr) events_->config_interrupt();
}

void VirtioDevice::fail(std::string_view why) {
    trouble_.complain(
        fmt::format("{}: the guest's driver broke the rules: {}; the device waits for its reset", spec_.name, why));
    if (events_ != nullptr) events_->needs_reset();
}

void VirtioDevice::interrupt(Virtqueue& from) {
    if (events_ != nullptr) events_->queue_interrupt(from.number());
}

void VirtioDevice::queue_broken(Virtqueue& /*from*/, std::string_view why) { fail(why); }

}  // namespace penumbra::vmm
