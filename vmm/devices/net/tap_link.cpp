#include "vmm/devices/net/tap_link.hpp"

#include <fmt/format.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "vmm/devices/net/net_headers.hpp"
#include "vmm/devices/net/tap_open.hpp"

namespace penumbra::vmm {

namespace {

using Wait = boost::asio::posix::descriptor_base;

/// Frames in a row that are not the guest's, before others on the loop have their turn.
constexpr unsigned most_skipped = 64;

}  // namespace

Result<std::unique_ptr<TapLink>> TapLink::open(const std::string& name, IoLoop& loop) {
    PENUMBRA_TRY_ASSIGN(OpenTap tap, open_tap(name));
    std::unique_ptr<TapLink> link(new TapLink(name, std::move(tap.file), loop));
    link->offloads_ = tap.offloads;
    link->mtu_ = tap.mtu;
    PENUMBRA_TRY(link->prepare());
    return link;
}

TapLink::TapLink(std::string name, UniqueFd file, IoLoop& loop)
    : name_(std::move(name)), file_(std::move(file)), loop_(loop), descriptor_(loop.context()) {}

TapLink::~TapLink() {
    if (descriptor_.is_open()) descriptor_.release();
}

Result<> TapLink::prepare() {
    boost::system::error_code error;
    descriptor_.assign(file_.get(), error);
    if (error) return std::unexpected{Error{"watch the tap interface", name_, error.value(), ""}};
    return {};
}

void TapLink::use_features(std::uint64_t features) {
    features_ = features;
    // Refused only for bits that were refused before, and those were not offered.
    (void)::ioctl(file_.get(), TUNSETOFFLOAD, tap_offloads(features));
}

// ---- to the guest ----

bool TapLink::receive(NetPacket& into) {
    for (unsigned skipped = 0; !down_ && skipped < most_skipped; ++skipped) {
        const std::span<std::byte> room = into.room(most_packet_bytes);
        const ssize_t got = ::read(file_.get(), room.data(), room.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno != EAGAIN) {
            went(errno);
            return false;
        }
        if (got < 0) break;
        into.shorten(static_cast<std::size_t>(got));
        if (fits_driver(into)) return true;
        count().received_lost.add();
    }
    watch_receive();
    return false;
}

bool TapLink::fits_driver(NetPacket& packet) {
    if (packet.size() < net_header_bytes + ethernet_header_bytes) return false;
    NetHeader header = packet.header();
    if (fit_receive(header, features_) == HeaderCheck::unsound) return false;
    packet.set_header(header);
    return true;
}

void TapLink::watch_receive() {
    if (down_ || receive_watch_ == Watch::armed) return;
    receive_watch_ = Watch::armed;
    descriptor_.async_wait(Wait::wait_read, [this](const boost::system::error_code& gone) {
        if (gone) return;
        receive_watch_ = Watch::idle;
        events_->can_receive();
    });
}

// ---- from the guest ----

NetLink::Sent TapLink::send(NetPacket& packet) {
    if (down_) return Sent::lost;
    const std::span<const std::byte> bytes = packet.bytes();
    ssize_t put = 0;
    do {
        put = ::write(file_.get(), bytes.data(), bytes.size());
    } while (put < 0 && errno == EINTR);
    if (put >= 0) return Sent::yes;
    if (errno == EAGAIN) {
        watch_send();
        return Sent::later;
    }
    count().sent_lost.add();
    if (errno == EBADFD) {
        went(errno);
    } else if (errno == EIO) {
        loop_.post([this] {
            events_->link_trouble(
                fmt::format("the tap interface {0} is down and takes no frames; do: ip link set {0} up", name_));
        });
    }
    return Sent::lost;
}

void TapLink::watch_send() {
    if (send_watch_ == Watch::armed) return;
    send_watch_ = Watch::armed;
    descriptor_.async_wait(Wait::wait_write, [this](const boost::system::error_code& gone) {
        if (gone) return;
        send_watch_ = Watch::idle;
        events_->can_send();
    });
}

void TapLink::went(int error_number) {
    if (std::exchange(down_, true)) return;
    loop_.post([this, error_number] {
        events_->link_down(fmt::format("the tap interface {} is gone: {}; the guest has no network any more", name_,
                                       std::generic_category().message(error_number)));
    });
}

}  // namespace penumbra::vmm
