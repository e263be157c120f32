// The accelerator's registers, and the gate between its engine and whoever orders it about.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>

#include "base/mutex.hpp"
#include "guest-images/common/machine_abi.hpp"
#include "shadow-mmu/table/memslots.hpp"
#include "vmm/devices/accelerator/command.hpp"

namespace penumbra::vmm {

/// Thread-safe. Three sides use it: vCPUs (read, write), the owner (pause to stop) and the engine's thread (the rest).
///
/// The engine is *inside* while it may touch guest memory. It leaves before it waits for anything, and looks in between
/// pages whether it should: one atomic load while nobody wants anything.
class RingControl {
public:
    explicit RingControl(const mmu::Memslots& memslots) : memslots_(memslots) {}

    [[nodiscard]] std::uint64_t read(abi::AccelRegister at) EXCLUDES(mutex_);
    enum class Written : std::uint8_t { yes, refused };
    /// Never waits for the engine. Refused: not a writable register, a value it does not take, or not now.
    Written write(abi::AccelRegister at, std::uint64_t value) EXCLUDES(mutex_);

    /// Returns once the engine is outside; it stays there until resume().
    void pause() EXCLUDES(mutex_);
    void resume() EXCLUDES(mutex_);
    /// Makes the engine drop the command in hand and take no other.
    void begin_reset() EXCLUDES(mutex_);
    /// Returns once it has none in hand; only within a reset.
    void wait_until_idle() EXCLUDES(mutex_);
    /// Sets every register to zero and lets the engine work again.
    void finish_reset() EXCLUDES(mutex_);
    /// Makes the engine drop the command in hand and end.
    void stop() EXCLUDES(mutex_);

    /// The next command to execute, by its number in a ring. A ring that was disabled keeps its number to the end.
    struct Ticket {
        Ring ring;
        std::optional<Gpa> pasid_table;  ///< pages of RAM
        std::optional<Gpa> request_queue;
        std::uint64_t number = 0;
        std::uint64_t session = 0;
    };
    enum class Go : std::uint8_t { on, abandon };

    /// Sleeps until there is a command and enters; nullopt: the engine ends.
    [[nodiscard]] std::optional<Ticket> next() EXCLUDES(mutex_);
    /// Between two pages, inside: leaves and enters again if somebody wants something.
    [[nodiscard]] Go check() { return interrupt_.load(std::memory_order_acquire) ? step_aside() : Go::on; }
    void leave() EXCLUDES(mutex_);
    /// Waits while paused. After `abandon` the engine is outside and drops the command.
    [[nodiscard]] Go enter() EXCLUDES(mutex_);
    /// Leaves, and enters again at that time.
    [[nodiscard]] Go wait_until(std::chrono::steady_clock::time_point time) EXCLUDES(mutex_);
    /// Number of the next request to the guest; the guest may answer from now on.
    [[nodiscard]] std::uint64_t open_request() EXCLUDES(mutex_);
    enum class Response : std::uint8_t { served, failed, abandoned };
    /// Leaves, and enters again when the guest has answered the newest request.
    [[nodiscard]] Response wait_for_response() EXCLUDES(mutex_);
    /// Moves the head, if the ring is still the one that the command came from.
    void complete(const Ticket& ticket) EXCLUDES(mutex_);
    /// No page will ever be had again: the engine ends.
    void halt() EXCLUDES(mutex_);

private:
    [[nodiscard]] Go step_aside() EXCLUDES(mutex_);
    [[nodiscard]] Go enter_locked() REQUIRES(mutex_);
    void leave_locked() REQUIRES(mutex_);
    [[nodiscard]] bool is_dropping() const REQUIRES(mutex_) { return resetting_ || stopping_; }
    [[nodiscard]] Written write_page(std::uint64_t& page, std::uint64_t value) REQUIRES(mutex_);
    [[nodiscard]] Written write_control(std::uint64_t value) REQUIRES(mutex_);
    [[nodiscard]] Written write_response(std::uint64_t value) REQUIRES(mutex_);
    [[nodiscard]] Written ring_doorbell(std::uint64_t tail) REQUIRES(mutex_);
    void fail_ring() REQUIRES(mutex_);
    void refresh_interrupt() REQUIRES(mutex_) {
        interrupt_.store(paused_ || resetting_ || stopping_, std::memory_order_release);
    }

    const mmu::Memslots& memslots_;
    Mutex mutex_{LockRank::accelerator};
    CondVar wanted_;   // for the engine: work, a response, resume, reset, stop
    CondVar settled_;  // for the owner: the engine left, or went idle
    std::atomic<bool> interrupt_{false};

    std::uint64_t ring_gpa_ GUARDED_BY(mutex_) = 0;
    std::uint64_t ring_entries_ GUARDED_BY(mutex_) = 0;
    std::uint64_t pasid_table_gpa_ GUARDED_BY(mutex_) = 0;  // a page of RAM, or 0
    std::uint64_t request_queue_gpa_ GUARDED_BY(mutex_) = 0;
    Ring ring_ GUARDED_BY(mutex_);
    std::uint64_t head_ GUARDED_BY(mutex_) = 0;
    std::uint64_t tail_ GUARDED_BY(mutex_) = 0;
    std::uint64_t session_ GUARDED_BY(mutex_) = 0;  // grows with every enable
    bool enabled_ GUARDED_BY(mutex_) = false;
    bool ring_error_ GUARDED_BY(mutex_) = false;

    std::uint64_t newest_request_ GUARDED_BY(mutex_) = 0;
    bool request_open_ GUARDED_BY(mutex_) = false;  // the guest has not answered it
    Response response_ GUARDED_BY(mutex_) = Response::failed;

    bool paused_ GUARDED_BY(mutex_) = false;
    bool resetting_ GUARDED_BY(mutex_) = false;
    bool stopping_ GUARDED_BY(mutex_) = false;
    bool inside_ GUARDED_BY(mutex_) = false;
    bool idle_ GUARDED_BY(mutex_) = true;  // no command in hand
};

}  // namespace penumbra::vmm
