// A tap interface of the host as a network link: the kernel's own checksums and segmentation for the guest.
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "vmm/devices/io_loop.hpp"
#include "vmm/devices/net/net_link.hpp"

namespace penumbra::vmm {

/// Frames that the guest has no room for stay in the interface's own queue, where the kernel drops and counts them.
class TapLink final : public NetLink {
public:
    /// Attaches to the existing tap `name`; makes none. Errors name it, the cause and the cure.
    [[nodiscard]] static Result<std::unique_ptr<TapLink>> open(const std::string& name, IoLoop& loop);
    ~TapLink() override;

    void attach(NetLinkEvents& events) override { events_ = &events; }
    [[nodiscard]] std::uint64_t offload_features() const override { return offloads_; }
    [[nodiscard]] std::uint16_t mtu() const override { return mtu_; }
    void use_features(std::uint64_t features) override;
    [[nodiscard]] bool receive(NetPacket& into) override;
    [[nodiscard]] Sent send(NetPacket& packet) override;

private:
    enum class Watch : std::uint8_t { idle, armed };

    TapLink(std::string name, UniqueFd file, IoLoop& loop);
    [[nodiscard]] Result<> prepare();
    [[nodiscard]] bool fits_driver(NetPacket& packet);
    void watch_receive();
    void watch_send();
    void went(int error_number);

    const std::string name_;
    const UniqueFd file_;
    IoLoop& loop_;
    boost::asio::posix::stream_descriptor descriptor_;
    NetLinkEvents* events_ = nullptr;
    std::uint64_t offloads_ = 0;
    std::uint16_t mtu_ = 0;
    std::uint64_t features_ = 0;
    Watch receive_watch_ = Watch::idle;
    Watch send_watch_ = Watch::idle;
    bool down_ = false;
};

}  // namespace penumbra::vmm
