#include "vmm/devices/net/user_stack.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <slirp/libslirp.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <string>
#include <utility>

#include "vmm/devices/net/opens_socket.hpp"
#include "vmm/devices/net/user_addresses.hpp"

namespace penumbra::vmm {

namespace {

short to_poll(int events) {
    int poll = 0;
    if ((events & SLIRP_POLL_IN) != 0) poll |= POLLIN;
    if ((events & SLIRP_POLL_OUT) != 0) poll |= POLLOUT;
    if ((events & SLIRP_POLL_PRI) != 0) poll |= POLLPRI;
    return static_cast<short>(poll);
}

int from_poll(int poll) {
    int events = 0;
    if ((poll & POLLIN) != 0) events |= SLIRP_POLL_IN;
    if ((poll & POLLOUT) != 0) events |= SLIRP_POLL_OUT;
    if ((poll & POLLPRI) != 0) events |= SLIRP_POLL_PRI;
    if ((poll & (POLLERR | POLLNVAL)) != 0) events |= SLIRP_POLL_ERR;
    if ((poll & POLLHUP) != 0) events |= SLIRP_POLL_HUP;
    return events;
}

std::string to_text(in_addr address, std::uint16_t port) {
    std::array<char, INET_ADDRSTRLEN> text{};
    ::inet_ntop(AF_INET, &address, text.data(), text.size());
    return fmt::format("{}:{}", text.data(), port);
}

SlirpConfig config_for(const NetOptions& options) {
    SlirpConfig config{};
    config.version = 4;
    config.restricted = options.reach == NetReach::nowhere ? 1 : 0;
    config.in_enabled = true;
    config.vnetwork = user_network::network;
    config.vnetmask = user_network::mask;
    config.vhost = user_network::gateway;
    config.vdhcp_start = user_network::guest;
    config.vnameserver = user_network::name_server;
    return config;
}

}  // namespace

struct UserStack::Callbacks {
    static UserStack& self(void* opaque) { return *static_cast<UserStack*>(opaque); }

    static ssize_t send_packet(const void* bytes, size_t count, void* opaque) {
        self(opaque).outside_.to_guest({static_cast<const std::byte*>(bytes), count});
        return static_cast<ssize_t>(count);
    }
    static void guest_error(const char* text, void* opaque) { self(opaque).outside_.guest_error(text); }
    static int64_t clock_get_ns(void* opaque) {
        const auto now = std::chrono::steady_clock::now().time_since_epoch() - self(opaque).skipped_;
        return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
    }
    static void register_poll_fd(int file, void* opaque) { self(opaque).sockets_.insert(file); }
    static void unregister_poll_fd(int file, void* opaque) { self(opaque).sockets_.erase(file); }
    // What there is to do is looked for before each wait, on the thread that does the rest.
    static void notify(void*) {}

    static int add_poll(int file, int events, void* opaque) {
        std::vector<pollfd>& polled = self(opaque).polled_;
        polled.push_back({file, to_poll(events), 0});
        return static_cast<int>(polled.size() - 1);
    }
    static int get_revents(int index, void* opaque) {
        return from_poll(self(opaque).polled_[static_cast<std::size_t>(index)].revents);
    }

    /// Timers belong to IPv6, which this network does not have.
    static constexpr SlirpCb table = [] {
        SlirpCb callbacks{};
        callbacks.send_packet = send_packet;
        callbacks.guest_error = guest_error;
        callbacks.clock_get_ns = clock_get_ns;
        callbacks.register_poll_fd = register_poll_fd;
        callbacks.unregister_poll_fd = unregister_poll_fd;
        callbacks.notify = notify;
        return callbacks;
    }();
};

Result<std::unique_ptr<UserStack>> UserStack::create(const NetOptions& options, Outside outside) {
    std::unique_ptr<UserStack> stack(new UserStack(std::move(outside)));
    const SlirpConfig config = config_for(options);
    stack->slirp_ = ::slirp_new(&config, &Callbacks::table, stack.get());
    if (stack->slirp_ == nullptr) {
        return fail("make the user network", {}, "install libslirp 4.7 or newer, or use --net tap:NAME");
    }
    for (const NetForward& each : options.forwards) PENUMBRA_TRY(stack->forward(each));
    return stack;
}

UserStack::~UserStack() {
    if (slirp_ != nullptr) ::slirp_cleanup(slirp_);
}

Result<> UserStack::forward(const NetForward& forward) {
    const int udp = forward.protocol == ForwardProtocol::udp ? 1 : 0;
    errno = 0;
    if (::slirp_add_hostfwd(slirp_, udp, forward.host, forward.host_port, forward.guest, forward.guest_port) == 0) {
        return {};
    }
    const char* const cure = errno == EACCES ? "ports below 1024 need a privilege: choose another"
                                             : "choose a free port and an address of this host";
    return fail_errno("forward the host's port",
                      fmt::format("{} {}", udp != 0 ? "udp" : "tcp", to_text(forward.host, forward.host_port)), cure);
}

UserStack::Input UserStack::input(std::span<const std::byte> frame) {
    if (frame.size() > most_frame_bytes) return Input::refused;
    if (sockets_.size() >= most_sockets && opens_socket(frame)) return Input::refused;
    ::slirp_input(slirp_, reinterpret_cast<const std::uint8_t*>(frame.data()), static_cast<int>(frame.size()));
    return Input::taken;
}

void UserStack::serve(int wake, std::chrono::milliseconds most) {
    polled_.assign(1, pollfd{wake, POLLIN, 0});
    auto timeout = static_cast<std::uint32_t>(std::max<std::int64_t>(most.count(), 0));
    ::slirp_pollfds_fill(slirp_, &timeout, Callbacks::add_poll, this);
    const int longest = static_cast<int>(std::min<std::uint32_t>(timeout, std::numeric_limits<int>::max()));
    const int ready = ::poll(polled_.data(), polled_.size(), longest);
    ::slirp_pollfds_poll(slirp_, ready < 0 ? 1 : 0, Callbacks::get_revents, this);
}

}  // namespace penumbra::vmm
