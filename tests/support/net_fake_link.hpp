// A link whose other end is a test.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "base/mutex.hpp"
#include "vmm/devices/io_loop.hpp"
#include "vmm/devices/net/net_link.hpp"

namespace penumbra::test {

struct Frame {
    vmm::NetHeader header;
    std::vector<std::byte> bytes;
};

/// The test's methods from any thread.
class FakeLink final : public vmm::NetLink {
public:
    struct Options {
        std::uint64_t offloads = 0;
        std::uint16_t mtu = 1500;
    };
    FakeLink(vmm::IoLoop& loop, const Options& options) : loop_(loop), options_(options) {}

    // ---- the test's end ----
    void put(Frame frame) EXCLUDES(mutex_);
    /// Takes that many frames more from the card, and says `later` to what follows.
    void take_only(std::size_t frames) EXCLUDES(mutex_);
    void take_all() EXCLUDES(mutex_);
    void go_down();
    [[nodiscard]] std::vector<Frame> sent() EXCLUDES(mutex_);
    [[nodiscard]] std::size_t sent_count() EXCLUDES(mutex_);
    /// put() and not received yet.
    [[nodiscard]] std::size_t waiting() EXCLUDES(mutex_);
    [[nodiscard]] std::uint64_t features() EXCLUDES(mutex_);
    [[nodiscard]] unsigned forgets() EXCLUDES(mutex_);
    [[nodiscard]] bool paused() EXCLUDES(mutex_);
    /// Frames that were asked for or sent while paused.
    [[nodiscard]] unsigned calls_while_paused() EXCLUDES(mutex_);

    // ---- NetLink ----
    void attach(vmm::NetLinkEvents& events) override { events_ = &events; }
    [[nodiscard]] std::uint64_t offload_features() const override { return options_.offloads; }
    [[nodiscard]] std::uint16_t mtu() const override { return options_.mtu; }
    void use_features(std::uint64_t features) override EXCLUDES(mutex_);
    [[nodiscard]] bool receive(vmm::NetPacket& into) override EXCLUDES(mutex_);
    [[nodiscard]] Sent send(vmm::NetPacket& packet) override EXCLUDES(mutex_);
    void pause() override EXCLUDES(mutex_);
    void resume() override EXCLUDES(mutex_);
    void forget() override EXCLUDES(mutex_);

private:
    vmm::IoLoop& loop_;
    const Options options_;
    vmm::NetLinkEvents* events_ = nullptr;
    Mutex mutex_{LockRank::leaf};
    std::deque<Frame> to_card_ GUARDED_BY(mutex_);
    std::vector<Frame> from_card_ GUARDED_BY(mutex_);
    std::size_t room_ GUARDED_BY(mutex_) = ~std::size_t{0};
    std::uint64_t features_ GUARDED_BY(mutex_) = 0;
    unsigned forgets_ GUARDED_BY(mutex_) = 0;
    unsigned wrong_ GUARDED_BY(mutex_) = 0;
    bool paused_ GUARDED_BY(mutex_) = false;
};

}  // namespace penumbra::test
