// The engine's side of ring_control.hpp.
#include "vmm/devices/accelerator/ring_control.hpp"

namespace penumbra::vmm {

std::optional<RingControl::Ticket> RingControl::next() {
    const MutexLock lock(mutex_);
    idle_ = true;
    leave_locked();
    while (!stopping_ && (paused_ || resetting_ || !enabled_ || head_ == tail_)) wanted_.wait(mutex_);
    if (stopping_) return std::nullopt;
    idle_ = false;
    inside_ = true;
    const auto page = [](std::uint64_t gpa) { return gpa == 0 ? std::nullopt : std::optional(Gpa{gpa}); };
    return Ticket{ring_, page(pasid_table_gpa_), page(request_queue_gpa_), head_, session_};
}

void RingControl::leave() {
    const MutexLock lock(mutex_);
    leave_locked();
}

void RingControl::leave_locked() {
    inside_ = false;
    if (paused_ || resetting_) settled_.notify_all();
}

RingControl::Go RingControl::enter() {
    const MutexLock lock(mutex_);
    return enter_locked();
}

RingControl::Go RingControl::enter_locked() {
    while (paused_ && !is_dropping()) wanted_.wait(mutex_);
    if (is_dropping()) return Go::abandon;
    inside_ = true;
    return Go::on;
}

RingControl::Go RingControl::step_aside() {
    const MutexLock lock(mutex_);
    leave_locked();
    return enter_locked();
}

RingControl::Go RingControl::wait_until(std::chrono::steady_clock::time_point time) {
    const MutexLock lock(mutex_);
    leave_locked();
    while (!is_dropping() && wanted_.wait_until(mutex_, time)) {
    }
    return enter_locked();
}

std::uint64_t RingControl::open_request() {
    const MutexLock lock(mutex_);
    request_open_ = true;
    return ++newest_request_;
}

RingControl::Response RingControl::wait_for_response() {
    const MutexLock lock(mutex_);
    leave_locked();
    while (request_open_ && !is_dropping()) wanted_.wait(mutex_);
    if (enter_locked() == Go::abandon) return Response::abandoned;
    return response_;
}

void RingControl::complete(const Ticket& ticket) {
    const MutexLock lock(mutex_);
    if (ticket.session == session_) ++head_;
}

void RingControl::halt() {
    const MutexLock lock(mutex_);
    stopping_ = true;
    enabled_ = false;
    refresh_interrupt();
}

}  // namespace penumbra::vmm
