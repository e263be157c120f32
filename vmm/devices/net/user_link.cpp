#include "vmm/devices/net/user_link.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <utility>

namespace penumbra::vmm {

namespace {

/// Longest sleep without anything to do; the library names shorter ones.
constexpr std::chrono::milliseconds idle_wait{10'000};

void block_broken_pipes() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

}  // namespace

Result<std::unique_ptr<UserLink>> UserLink::create(const NetOptions& options, IoLoop& loop) {
    std::unique_ptr<UserLink> link(new UserLink(loop));
    link->wake_.reset(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (!link->wake_) return fail_errno("make an event for the user network", {}, "raise the limit on open files");
    UserStack::Outside outside{[self = link.get()](std::span<const std::byte> frame) { self->to_guest(frame); },
                               [self = link.get()](std::string_view text) { self->guest_error(text); }};
    PENUMBRA_TRY_ASSIGN(link->stack_, UserStack::create(options, std::move(outside)));
    return link;
}

UserLink::~UserLink() {
    set_mode(Mode::ending);
    thread_.join();
}

void UserLink::attach(NetLinkEvents& events) {
    events_ = &events;
    thread_ = Thread("user-net", ThreadRole::device, [this] { run(); });
}

void UserLink::set_mode(Mode mode) {
    {
        const MutexLock lock(mutex_);
        mode_ = mode;
        changed_.notify_all();
    }
    wake();
}

void UserLink::wake() const {
    const std::uint64_t one = 1;
    // Fails only when 2^64 - 2 calls are waiting already.
    (void)!::write(wake_.get(), &one, sizeof(one));
}

// ---- the card's side ----

bool UserLink::receive(NetPacket& into) {
    const MutexLock lock(mutex_);
    receiver_waits_ = to_guest_.empty();
    if (receiver_waits_) return false;
    into = std::move(to_guest_.front());
    to_guest_.pop_front();
    return true;
}

NetLink::Sent UserLink::send(NetPacket& packet) {
    if (packet.frame().size() > UserStack::most_frame_bytes) {
        count().sent_lost.add();
        return Sent::lost;
    }
    {
        const MutexLock lock(mutex_);
        sender_waits_ = from_guest_.size() >= most_from_guest;
        if (sender_waits_) return Sent::later;
        from_guest_.push_back(std::exchange(packet, {}));
        if (from_guest_.size() > 1) return Sent::yes;
    }
    wake();
    return Sent::yes;
}

void UserLink::forget() {
    const MutexLock lock(mutex_);
    to_guest_.clear();
    from_guest_.clear();
    sender_waits_ = false;
}

// ---- the network's side ----

void UserLink::run() {
    block_broken_pipes();
    for (Mode now = mode(); now != Mode::ending; now = mode()) {
        if (now == Mode::paused) {
            sleep_out_the_pause();
            continue;
        }
        stack_->serve(wake_.get(), idle_wait);
        // Before the look at the queue: what is sent from now on wakes anew.
        std::uint64_t calls = 0;
        (void)!::read(wake_.get(), &calls, sizeof(calls));
        for (const NetPacket& packet : take_sent()) {
            if (stack_->input(packet.frame()) == UserStack::Input::refused) count().sent_lost.add();
        }
    }
}

UserLink::Mode UserLink::mode() {
    const MutexLock lock(mutex_);
    return mode_;
}

void UserLink::sleep_out_the_pause() {
    const auto since = std::chrono::steady_clock::now();
    {
        const MutexLock lock(mutex_);
        while (mode_ == Mode::paused) changed_.wait(mutex_);
    }
    stack_->skip(std::chrono::steady_clock::now() - since);
}

std::deque<NetPacket> UserLink::take_sent() {
    const MutexLock lock(mutex_);
    if (mode_ != Mode::running) return {};
    if (std::exchange(sender_waits_, false)) loop_.post([this] { events_->can_send(); });
    return std::exchange(from_guest_, {});
}

void UserLink::to_guest(std::span<const std::byte> frame) {
    const MutexLock lock(mutex_);
    if (to_guest_.size() >= most_to_guest || frame.size() > UserStack::most_frame_bytes) {
        return count().received_lost.add();
    }
    NetPacket packet;
    std::ranges::copy(frame, packet.room(net_header_bytes + frame.size()).subspan(net_header_bytes).begin());
    packet.set_header({});
    to_guest_.push_back(std::move(packet));
    if (std::exchange(receiver_waits_, false)) loop_.post([this] { events_->can_receive(); });
}

void UserLink::guest_error(std::string_view text) {
    if (complains_.exchange(true)) return;
    loop_.post([this, line = fmt::format("the user network says about the guest: {}", text)] {
        complains_.store(false);
        events_->link_trouble(line);
    });
}

}  // namespace penumbra::vmm
