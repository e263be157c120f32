#include "tests/support/net_fake_link.hpp"

#include <algorithm>
#include <utility>

namespace penumbra::test {

void FakeLink::put(Frame frame) {
    {
        const MutexLock lock(mutex_);
        to_card_.push_back(std::move(frame));
    }
    loop_.post([this] { events_->can_receive(); });
}

void FakeLink::take_only(std::size_t frames) {
    const MutexLock lock(mutex_);
    room_ = frames;
}

void FakeLink::take_all() {
    take_only(~std::size_t{0});
    loop_.post([this] { events_->can_send(); });
}

void FakeLink::go_down() {
    loop_.post([this] { events_->link_down("the test cut the cable"); });
}

std::vector<Frame> FakeLink::sent() {
    const MutexLock lock(mutex_);
    return from_card_;
}

std::size_t FakeLink::sent_count() {
    const MutexLock lock(mutex_);
    return from_card_.size();
}

std::size_t FakeLink::waiting() {
    const MutexLock lock(mutex_);
    return to_card_.size();
}

std::uint64_t FakeLink::features() {
    const MutexLock lock(mutex_);
    return features_;
}

unsigned FakeLink::forgets() {
    const MutexLock lock(mutex_);
    return forgets_;
}

bool FakeLink::paused() {
    const MutexLock lock(mutex_);
    return paused_;
}

unsigned FakeLink::calls_while_paused() {
    const MutexLock lock(mutex_);
    return wrong_;
}

void FakeLink::use_features(std::uint64_t features) {
    const MutexLock lock(mutex_);
    features_ = features;
}

bool FakeLink::receive(vmm::NetPacket& into) {
    const MutexLock lock(mutex_);
    if (paused_) ++wrong_;
    if (to_card_.empty()) return false;
    const Frame& frame = to_card_.front();
    std::ranges::copy(frame.bytes,
                      into.room(vmm::net_header_bytes + frame.bytes.size()).subspan(vmm::net_header_bytes).begin());
    into.set_header(frame.header);
    to_card_.pop_front();
    return true;
}

vmm::NetLink::Sent FakeLink::send(vmm::NetPacket& packet) {
    const MutexLock lock(mutex_);
    if (paused_) ++wrong_;
    if (room_ == 0) return Sent::later;
    --room_;
    const std::span<const std::byte> bytes = packet.frame();
    from_card_.push_back({packet.header(), {bytes.begin(), bytes.end()}});
    return Sent::yes;
}

void FakeLink::pause() {
    const MutexLock lock(mutex_);
    paused_ = true;
}

void FakeLink::resume() {
    const MutexLock lock(mutex_);
    paused_ = false;
}

void FakeLink::forget() {
    const MutexLock lock(mutex_);
    to_card_.clear();
    ++forgets_;
}

}  // namespace penumbra::test
