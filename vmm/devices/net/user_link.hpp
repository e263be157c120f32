// A user network as a network link. The network lives on a thread of its own: its library may look at files, and is
// kept away from the loop that serves other devices. The thread knows frames only, and no guest memory.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.hpp"
#include "base/thread.hpp"
#include "base/unique_fd.hpp"
#include "vmm/devices/io_loop.hpp"
#include "vmm/devices/net/net_link.hpp"
#include "vmm/devices/net/net_options.hpp"
#include "vmm/devices/net/user_stack.hpp"

namespace penumbra::vmm {

class UserLink final : public NetLink {
public:
    /// Frames on their way to a guest that takes none; what comes then is lost, as on any network.
    static constexpr std::size_t most_to_guest = 512;
    /// Frames on their way from the guest; then send() says `later`.
    static constexpr std::size_t most_from_guest = 128;

    [[nodiscard]] static Result<std::unique_ptr<UserLink>> create(const NetOptions& options, IoLoop& loop);
    ~UserLink() override;

    void attach(NetLinkEvents& events) override;
    [[nodiscard]] std::uint64_t offload_features() const override { return 0; }
    [[nodiscard]] std::uint16_t mtu() const override { return UserStack::most_frame_bytes - ethernet_header_bytes; }
    void use_features(std::uint64_t) override {}
    [[nodiscard]] bool receive(NetPacket& into) override;
    [[nodiscard]] Sent send(NetPacket& packet) override;
    void pause() override { set_mode(Mode::paused); }
    void resume() override { set_mode(Mode::running); }
    void forget() override;

private:
    enum class Mode : std::uint8_t { running, paused, ending };

    explicit UserLink(IoLoop& loop) : loop_(loop) {}
    void set_mode(Mode mode) EXCLUDES(mutex_);
    void wake() const;

    // ---- on the network's thread ----
    void run();
    [[nodiscard]] Mode mode() EXCLUDES(mutex_);
    void sleep_out_the_pause();
    [[nodiscard]] std::deque<NetPacket> take_sent() EXCLUDES(mutex_);
    void to_guest(std::span<const std::byte> frame) EXCLUDES(mutex_);
    void guest_error(std::string_view text);

    IoLoop& loop_;
    NetLinkEvents* events_ = nullptr;
    UniqueFd wake_;
    std::unique_ptr<UserStack> stack_;

    Mutex mutex_{LockRank::leaf};
    CondVar changed_;
    Mode mode_ GUARDED_BY(mutex_) = Mode::running;
    std::deque<NetPacket> to_guest_ GUARDED_BY(mutex_);
    std::deque<NetPacket> from_guest_ GUARDED_BY(mutex_);
    bool receiver_waits_ GUARDED_BY(mutex_) = true;
    bool sender_waits_ GUARDED_BY(mutex_) = false;
    std::atomic<bool> complains_{false};  // a complaint is on its way to the loop

    Thread thread_;
};

}  // namespace penumbra::vmm
