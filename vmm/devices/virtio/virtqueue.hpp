// A split virtqueue, device side (Virtual I/O Device 1.2, 2.7): takes chains from the driver, hands them to the device,
// and gives them back.
//
// Everything about a ring is guest memory that may be absent, and guest data that may be wrong. What is absent is asked
// for and taken up again where it stopped, never from the start, so that pages which leave as fast as they come still
// let the queue go on; an absent page of one chain's descriptors holds up that chain only. What is wrong stops the
// queue and tells the listener, once.
#pragma once

#include <cstdint>
#include <deque>
#include <expected>
#include <functional>
#include <list>
#include <map>
#include <string_view>
#include <vector>

#include "base/counters.hpp"
#include "vmm/devices/dma/dma_space.hpp"
#include "vmm/devices/io_loop.hpp"
#include "vmm/devices/virtio/chain_parser.hpp"
#include "vmm/devices/virtio/page_wishes.hpp"

namespace penumbra::vmm {

/// Where the driver put a queue. As the driver wrote it: start() checks.
struct QueueSettings {
    std::uint16_t size = 0;
    Gpa descriptors;
    Gpa available;  ///< the driver area
    Gpa used;       ///< the device area
};

enum class Delivery : std::uint8_t {
    as_ready,  ///< a chain whose descriptors are absent lets later ones pass
    in_order,  ///< chains come in the order of the available ring
};

class Virtqueue;

/// Called on the loop. May call complete() from inside.
class QueueListener {
public:
    virtual ~QueueListener() = default;
    /// The chain is the listener's until it calls complete() with it.
    virtual void chain_arrived(Virtqueue& queue, Chain chain) = 0;
    /// The driver wants to hear of what was completed.
    virtual void interrupt(Virtqueue& queue) = 0;
    /// The ring makes no sense and the queue has stopped: no chain comes and none goes back until start(). Once per
    /// start().
    virtual void queue_broken(Virtqueue& queue, std::string_view why) = 0;
};

struct QueueCounters {
    Counter chains;      ///< handed to the listener
    Counter completed;   ///< published in the used ring
    Counter interrupts;  ///< the driver had asked for
    Counter waits;       ///< pages of the ring or its descriptors that were absent
    Counter broken;
};

/// Everything on the loop, except number(), max_size() and counters(). Destroyed after the loop has stopped.
class Virtqueue {
public:
    struct Parts {
        IoLoop& loop;
        DmaClient& dma;
        PageWishes& wishes;
        QueueListener& listener;
    };
    Virtqueue(unsigned number, std::uint16_t max_size, Delivery delivery, Parts parts)
        : number_(number), max_size_(max_size), delivery_(delivery), parts_(parts) {}
    Virtqueue(const Virtqueue&) = delete;
    Virtqueue& operator=(const Virtqueue&) = delete;

    /// Begins with empty rings and looks for chains at once. `features` as negotiated.
    void start(const QueueSettings& settings, std::uint64_t features);
    /// Forgets every chain: complete() ignores those of before.
    void stop();
    /// While paused no chain is taken; complete() still works.
    void pause() { paused_ = true; }
    void resume();

    /// The driver may have made chains available. Takes all there are (a bounded number at once, then again by post).
    void poll();
    /// Gives a chain back with `written` bytes of its writable segments filled from their start. Each chain once, in
    /// any order; the driver sees them in the order of these calls. Chains of an earlier start() are ignored.
    void complete(const Chain& chain, std::uint32_t written);

    /// While one lives, completed chains are collected; its end publishes them with at most one interrupt.
    class Batch {
    public:
        explicit Batch(Virtqueue& queue) : queue_(queue) { ++queue_.batches_; }
        ~Batch() {
            if (--queue_.batches_ == 0) queue_.flush();
        }
        Batch(const Batch&) = delete;
        Batch& operator=(const Batch&) = delete;

    private:
        Virtqueue& queue_;
    };

    [[nodiscard]] bool running() const { return state_ == State::running; }
    /// Chains that the listener has, and those on their way to and from it.
    [[nodiscard]] std::size_t in_flight() const { return in_flight_; }
    [[nodiscard]] unsigned number() const { return number_; }
    [[nodiscard]] std::uint16_t max_size() const { return max_size_; }
    [[nodiscard]] const QueueCounters& counters() const { return counters_; }

    /// For the listener, which found that a chain's contents break the device's rules: as for a broken ring.
    void fail(std::string_view why);

private:
    enum class State : std::uint8_t { stopped, running, broken };
    enum class Step : std::uint8_t { on, end };
    using Parsers = std::list<ChainParser>;  // nodes stay in place while their pages are awaited

    [[nodiscard]] bool settings_make_sense() const;
    void take_all();
    [[nodiscard]] std::expected<Step, DmaMiss> take_one();
    [[nodiscard]] std::expected<Step, DmaMiss> look();
    [[nodiscard]] std::expected<Step, DmaMiss> arm();
    void disarm();
    void take_later();
    void parse(Parsers::iterator parser);
    void deliver(Chain chain);

    void flush();
    [[nodiscard]] std::expected<void, DmaMiss> write_element();
    [[nodiscard]] std::expected<void, DmaMiss> publish();
    [[nodiscard]] bool driver_wants_interrupt(std::uint16_t before);

    /// After a miss: waits for its page, or breaks the queue. `then` runs only if the queue still runs by then.
    void wait_for(DmaMiss miss, Gfn missing, mmu::FaultAccess access, std::function<void()> then);

    [[nodiscard]] Gpa available_index() const { return settings_.available + 2; }
    [[nodiscard]] Gpa used_event() const { return settings_.available + 4 + 2 * std::uint64_t{settings_.size}; }
    [[nodiscard]] Gpa used_index() const { return settings_.used + 2; }
    [[nodiscard]] Gpa avail_event() const { return settings_.used + 4 + 8 * std::uint64_t{settings_.size}; }

    const unsigned number_;
    const std::uint16_t max_size_;
    const Delivery delivery_;
    const Parts parts_;

    QueueSettings settings_;
    bool event_index_ = false;
    bool indirect_ = false;
    State state_ = State::stopped;
    bool paused_ = false;
    std::uint32_t session_ = 0;  // grows with every start() and stop()

    // ---- available side ----
    std::uint16_t next_available_ = 0;
    std::uint16_t seen_available_ = 0;  // the driver's index when last looked at
    bool found_nothing_ = false;        // the last look saw no chain
    bool armed_ = false;                // the driver was told to notify from next_available_ on
    bool told_quiet_ = false;           // without event index: the driver was told not to notify
    bool awaits_page_ = false;
    bool take_posted_ = false;
    std::uint64_t next_sequence_ = 0;
    std::uint64_t next_delivered_ = 0;
    Parsers parsers_;
    std::map<std::uint64_t, Chain> parsed_;  // in_order: wait for an earlier one
    std::vector<bool> with_device_;          // by head

    // ---- used side ----
    struct Used {
        std::uint32_t head = 0;
        std::uint32_t written = 0;
    };
    std::deque<Used> completed_;     // not yet in the used ring
    std::size_t element_bytes_ = 0;  // of completed_.front() in the used ring already
    std::uint16_t next_used_ = 0;
    std::uint16_t published_ = 0;
    bool flush_waits_ = false;
    unsigned batches_ = 0;
    std::size_t in_flight_ = 0;

    QueueCounters counters_;
};

}  // namespace penumbra::vmm
