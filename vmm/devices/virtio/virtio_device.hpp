// What every virtio device has, whatever its transport: an identity, features, configuration space, queues, and a life
// between activation and reset. Device models derive from it.
#pragma once

#include <atomic>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/counters.hpp"
#include "vmm/devices/dma/dma_space.hpp"
#include "vmm/devices/io_loop.hpp"
#include "vmm/devices/virtio/trouble_log.hpp"
#include "vmm/devices/virtio/virtio_config.hpp"
#include "vmm/devices/virtio/virtio_features.hpp"
#include "vmm/devices/virtio/virtqueue.hpp"

namespace penumbra::vmm {

/// Virtual I/O Device 1.2, section 5.
enum class VirtioId : std::uint16_t { net = 1, block = 2, console = 3 };

struct QueueSpec {
    std::uint16_t max_size = 256;  ///< a power of two, at most 32768 (2.7)
    Delivery delivery = Delivery::as_ready;
};

struct VirtioSpec {
    VirtioId id{};
    std::string name;               ///< for messages: "disk0"
    std::uint64_t features = 0;     ///< the device's own bits; VERSION_1, INDIRECT_DESC, EVENT_IDX are added
    std::vector<QueueSpec> queues;  ///< 1..64
    std::vector<std::byte> config;  ///< see VirtioConfig
    std::vector<std::byte> config_writable;
    std::function<void(std::string_view)> on_trouble;  ///< one line for people, rate-limited; on the loop; may be empty
};

/// What a device tells its transport. Any thread; never waits.
class VirtioEvents {
public:
    virtual ~VirtioEvents() = default;
    virtual void queue_interrupt(unsigned queue) = 0;
    virtual void config_interrupt() = 0;
    /// The device has stopped working until the driver resets it.
    virtual void needs_reset() = 0;
};

/// What the driver had set up when it set DRIVER_OK.
struct VirtioActivation {
    struct Queue {
        unsigned number = 0;
        QueueSettings settings;
    };
    std::uint64_t features = 0;
    std::vector<Queue> queues;  ///< those that are enabled
};

/// Threads: the public methods may be called from any thread, before and after the loop starts; what they do happens on
/// the loop, in the order of the calls. Hooks and protected methods are on the loop. The loop is stopped before the
/// device is destroyed, and outlives it.
class VirtioDevice : private QueueListener {
public:
    using Done = std::function<void()>;
    static constexpr std::size_t max_queues = 64;

    VirtioDevice(VirtioSpec spec, DmaService& dma, IoLoop& loop);
    ~VirtioDevice() override;
    VirtioDevice(const VirtioDevice&) = delete;
    VirtioDevice& operator=(const VirtioDevice&) = delete;

    [[nodiscard]] VirtioId id() const { return spec_.id; }
    [[nodiscard]] const std::string& name() const { return spec_.name; }
    [[nodiscard]] std::uint64_t offered_features() const { return features_offered_; }
    [[nodiscard]] unsigned queue_count() const { return static_cast<unsigned>(queues_.size()); }
    [[nodiscard]] std::uint16_t max_queue_size(unsigned queue) const { return spec_.queues[queue].max_size; }
    [[nodiscard]] const QueueCounters& queue_counters(unsigned queue) const { return queues_[queue]->counters(); }

    // ---- for the transport ----
    /// Before the guest runs; the transport outlives the loop's thread.
    void attach(VirtioEvents& events) { events_ = &events; }
    [[nodiscard]] std::uint64_t read_config(std::uint64_t offset, unsigned bytes) const {
        return config_.read(offset, bytes);
    }
    void write_config(std::uint64_t offset, unsigned bytes, std::uint64_t value);
    [[nodiscard]] std::size_t config_bytes() const { return config_.size(); }
    [[nodiscard]] std::uint32_t config_generation() const { return config_.generation(); }
    void activate(VirtioActivation activation);
    /// The driver says that there are new chains. Any number of calls is one until the loop looks.
    void notify(unsigned queue);
    /// notify() as a file descriptor, for Doorbells.
    [[nodiscard]] int doorbell(unsigned queue) const;
    /// Drops all requests, waiting for nothing but kernel I/O in flight; `done` on the loop. Also before taking down.
    void reset(Done done);

    // ---- for the machine ----
    /// `done` on the loop once the device touches guest memory no more; what it had begun goes on after resume().
    void pause(Done done);
    void resume();

protected:
    // ---- the model's part ----
    /// The driver is ready: features() are negotiated, and chains come from now on.
    virtual void activated() {}
    /// Yours until queue(number).complete(chain, written). Not while paused.
    virtual void take(unsigned queue, Chain chain) = 0;
    /// Begin no I/O that touches guest memory, nor touch it otherwise, until resumed(); call `done` (now or later, on
    /// the loop) once none is in flight. Chains keep; their pages' `then`s wait as well.
    virtual void quiesce(Done done) { done(); }
    /// Go on after quiesce(), unless a forget() came in between and there is nothing to go on with.
    virtual void resumed() {}
    /// The driver resets the device: drop every chain. Comes after a quiesce(); resumed() follows.
    virtual void forget() = 0;
    /// The driver changed a writable byte of the configuration space.
    virtual void config_written() {}

    /// Neither reset nor paused.
    [[nodiscard]] bool running() const { return active_ && !quiet(); }
    [[nodiscard]] std::uint64_t features() const { return features_; }
    [[nodiscard]] Virtqueue& queue(unsigned number) { return *queues_[number]; }
    [[nodiscard]] DmaClient& dma() { return dma_; }
    /// DmaClient::want, but put off while paused. Forgotten at reset.
    void want(Gfn gfn, mmu::FaultAccess access, DmaClient::Then then) { wishes_.want(gfn, access, std::move(then)); }
    [[nodiscard]] IoLoop& loop() { return loop_; }
    [[nodiscard]] VirtioConfig& config() { return config_; }
    /// After config().set(): the driver hears of it.
    void config_changed();
    /// The guest broke the device's rules: DEVICE_NEEDS_RESET, and one line for people.
    void fail(std::string_view why);

private:
    struct Bell;

    void chain_arrived(Virtqueue& from, Chain chain) final { take(from.number(), std::move(chain)); }
    void interrupt(Virtqueue& from) final;
    void queue_broken(Virtqueue& from, std::string_view why) final;

    void watch(unsigned queue);
    void start_queues(const VirtioActivation& activation);
    [[nodiscard]] bool quiet() const { return paused_ || resetting_; }
    void quiesce_then(Done done);
    void finish_reset();
    void go_on();

    const VirtioSpec spec_;
    const std::uint64_t features_offered_;
    IoLoop& loop_;
    DmaClient dma_;
    PageWishes wishes_;
    VirtioConfig config_;
    VirtioEvents* events_ = nullptr;
    std::vector<std::unique_ptr<Virtqueue>> queues_;
    std::vector<std::unique_ptr<Bell>> bells_;
    TroubleLog trouble_;

    std::uint64_t features_ = 0;
    bool active_ = false;
    bool paused_ = false;
    bool resetting_ = false;
    bool quiescing_ = false;  // the model was asked and has not answered yet
    bool quiesced_ = false;   // asked, and not told to go on
    std::atomic<bool> config_news_{false};
    std::vector<Done> when_quiet_;
};

}  // namespace penumbra::vmm
