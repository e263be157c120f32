#include "vmm/devices/accelerator/ring_control.hpp"

#include "base/assert.hpp"

namespace penumbra::vmm {

using abi::AccelRegister;
using abi::AccelStatus;

// ---- vCPUs ----

std::uint64_t RingControl::read(AccelRegister at) {
    const MutexLock lock(mutex_);
    switch (at) {
        case AccelRegister::ring_gpa:
            return ring_gpa_;
        case AccelRegister::ring_entries:
            return ring_entries_;
        case AccelRegister::control:
            return enabled_ ? 1 : 0;
        case AccelRegister::doorbell:
            return tail_;
        case AccelRegister::status:
            return (enabled_ ? static_cast<std::uint64_t>(AccelStatus::enabled) : 0) |
                   (ring_error_ ? static_cast<std::uint64_t>(AccelStatus::ring_error) : 0);
        case AccelRegister::head:
            return head_;
        case AccelRegister::pasid_table_gpa:
            return pasid_table_gpa_;
        case AccelRegister::request_queue_gpa:
            return request_queue_gpa_;
        case AccelRegister::request_response:
            return newest_request_;
    }
    return ~std::uint64_t{0};
}

RingControl::Written RingControl::write(AccelRegister at, std::uint64_t value) {
    const MutexLock lock(mutex_);
    switch (at) {
        case AccelRegister::ring_gpa:
        case AccelRegister::ring_entries:
            if (enabled_) return Written::refused;
            (at == AccelRegister::ring_gpa ? ring_gpa_ : ring_entries_) = value;
            return Written::yes;
        case AccelRegister::control:
            return write_control(value);
        case AccelRegister::doorbell:
            return ring_doorbell(value);
        case AccelRegister::pasid_table_gpa:
            return write_page(pasid_table_gpa_, value);
        case AccelRegister::request_queue_gpa:
            return write_page(request_queue_gpa_, value);
        case AccelRegister::request_response:
            return write_response(value);
        case AccelRegister::status:
        case AccelRegister::head:
            return Written::refused;
    }
    return Written::refused;
}

RingControl::Written RingControl::write_page(std::uint64_t& page, std::uint64_t value) {
    if (enabled_ || (value != 0 && !is_ram_page(value, memslots_))) return Written::refused;
    page = value;
    return Written::yes;
}

RingControl::Written RingControl::write_response(std::uint64_t value) {
    if (!request_open_ || value >> 1 != newest_request_) return Written::refused;
    request_open_ = false;
    response_ = (value & 1) == 0 ? Response::served : Response::failed;
    wanted_.notify_all();
    return Written::yes;
}

RingControl::Written RingControl::write_control(std::uint64_t value) {
    if (value > 1) return Written::refused;
    if (value == 0) {
        enabled_ = false;
        return Written::yes;
    }
    if (enabled_) return Written::refused;
    const std::optional<Ring> ring = checked_ring(ring_gpa_, ring_entries_, memslots_);
    if (!ring) {
        fail_ring();
        return Written::yes;
    }
    ring_ = *ring;
    head_ = tail_ = 0;
    ++session_;
    ring_error_ = false;
    enabled_ = true;
    return Written::yes;
}

RingControl::Written RingControl::ring_doorbell(std::uint64_t tail) {
    if (!enabled_) return Written::refused;
    // Counts are free-running, so distances are taken modulo 2^64: neither backwards nor past a full ring.
    const std::uint64_t ahead = tail - head_;
    if (ahead > ring_.entries || ahead < tail_ - head_) {
        fail_ring();
        return Written::yes;
    }
    tail_ = tail;
    wanted_.notify_one();
    return Written::yes;
}

void RingControl::fail_ring() {
    enabled_ = false;
    ring_error_ = true;
}

// ---- the owner ----

void RingControl::pause() {
    const MutexLock lock(mutex_);
    paused_ = true;
    refresh_interrupt();
    while (inside_) settled_.wait(mutex_);
}

void RingControl::resume() {
    const MutexLock lock(mutex_);
    paused_ = false;
    refresh_interrupt();
    wanted_.notify_all();
}

void RingControl::begin_reset() {
    const MutexLock lock(mutex_);
    resetting_ = true;
    refresh_interrupt();
    wanted_.notify_all();
}

void RingControl::wait_until_idle() {
    const MutexLock lock(mutex_);
    PENUMBRA_ASSERT(resetting_, "a wait for an engine that was not told to drop its command");
    while (!idle_) settled_.wait(mutex_);
}

void RingControl::finish_reset() {
    const MutexLock lock(mutex_);
    ring_gpa_ = ring_entries_ = pasid_table_gpa_ = request_queue_gpa_ = head_ = tail_ = 0;
    ring_ = Ring{};
    ++session_;
    newest_request_ = 0;
    request_open_ = false;
    enabled_ = ring_error_ = resetting_ = false;
    refresh_interrupt();
}

void RingControl::stop() {
    const MutexLock lock(mutex_);
    stopping_ = true;
    enabled_ = false;
    refresh_interrupt();
    wanted_.notify_all();
}

}  // namespace penumbra::vmm
