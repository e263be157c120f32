// What the requests of one disk share: its bounded means (kernel requests, wishes for pages), the list of requests that
// can go on, and the pause.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <vector>

#include "vmm/devices/block/disk_io.hpp"
#include "vmm/devices/dma/dma_space.hpp"
#include "vmm/devices/virtio/block_counters.hpp"

namespace penumbra::vmm {

class BlockEngine;

/// A request as the engine sees it.
class BlockTask {
public:
    enum class Next : std::uint8_t {
        waits,  ///< for kernel I/O, a page or a token; it will be run again
        ended,  ///< nothing of it is left anywhere: the owner destroys it
    };

    BlockTask() = default;
    BlockTask(const BlockTask&) = delete;
    BlockTask& operator=(const BlockTask&) = delete;
    virtual ~BlockTask() = default;

    /// Does what can be done now. Called once more whenever something it waits for has come, sometimes for nothing.
    [[nodiscard]] virtual Next run() = 0;

    [[nodiscard]] bool idle() const { return operations_ == 0 && wishes_ == 0; }
    [[nodiscard]] unsigned operations() const { return operations_; }
    [[nodiscard]] unsigned wishes() const { return wishes_; }
    /// The first error; 0: none.
    [[nodiscard]] int error() const { return error_; }
    void fail(int error_number) {
        if (error_ == 0) error_ = error_number;
    }

private:
    friend class BlockEngine;
    unsigned operations_ = 0;
    unsigned wishes_ = 0;
    int error_ = 0;
    bool ready_ = false;
    bool waits_for_token_ = false;
};

/// On the loop. A paused engine runs no task and begins no kernel request; what tasks become ready for is kept.
class BlockEngine {
public:
    /// The right to one kernel request. Pages that are waited for have their own, so that they cannot use up what
    /// requests to present pages need; a wish has its token before it is made, so that a page that comes is used at
    /// once.
    enum class Token : std::uint8_t { present, wish };
    static constexpr unsigned tokens_of_each = 128;
    static constexpr unsigned ring_depth = 2 * tokens_of_each;

    struct Parts {
        DmaClient& dma;
        const DiskFile& file;
        DiskIo& io;  ///< ring_depth deep
        BlockCounters& counters;
        std::function<void(Gfn, mmu::FaultAccess, DmaClient::Then)> want;
        std::function<void()> schedule;                                    ///< has work() called soon, not from inside
        std::function<void(BlockTask&)> ended;                             ///< destroys the task
        std::function<void(DiskIo::Direction, int error_number)> trouble;  ///< the kernel refused something
    };
    explicit BlockEngine(Parts parts) : parts_(std::move(parts)) {}

    [[nodiscard]] DmaClient& dma() { return parts_.dma; }
    [[nodiscard]] const DiskFile& file() const { return parts_.file; }
    [[nodiscard]] BlockCounters& counters() { return parts_.counters; }

    // ---- for tasks, which are run again when what they begin here has ended ----
    /// False: none is left; the task is run when there is one.
    [[nodiscard]] bool take(Token token, BlockTask& task);
    void give_back(Token token) { ++free(token); }
    /// The page at hand is absent. With the page held: `granted`, unless it is empty, and then the task's run().
    void want(BlockTask& task, Gfn gfn, mmu::FaultAccess access, DmaClient::Then granted);
    /// Needs a token, which goes back at the end. The holds are kept as long.
    void transfer(BlockTask& task, Token token, DiskIo::Direction direction, std::uint64_t offset,
                  std::span<const iovec> pieces, std::vector<DmaHold> holds);
    void sync(BlockTask& task, Token token);
    /// What came of it goes to `ended`; EOPNOTSUPP is no trouble.
    void clear(BlockTask& task, Token token, DiskIo::Clear how, std::uint64_t offset, std::uint64_t bytes,
               std::function<void(int error_number)> ended);
    /// What the file turned out not to be able to do.
    [[nodiscard]] bool can(DiskIo::Clear how) const { return can_[static_cast<std::size_t>(how)]; }
    void cannot(DiskIo::Clear how) { can_[static_cast<std::size_t>(how)] = false; }

    // ---- for the device ----
    void ready(BlockTask& task);
    /// Runs what is ready and hands the kernel what came of it.
    void work();
    /// `done` once the kernel has nothing in hand.
    void pause(std::function<void()> done);
    void resume();
    /// While paused with nothing in hand, and with all wishes forgotten: the tasks are gone.
    void forget();

private:
    [[nodiscard]] unsigned& free(Token token) { return free_[static_cast<std::size_t>(token)]; }
    [[nodiscard]] DiskIo::Done done_with(BlockTask& task, Token token, DiskIo::Direction direction,
                                         std::vector<DmaHold> holds);
    void operation_ended(BlockTask& task, Token token);
    void run(BlockTask& task);
    void wake_waiting();
    void schedule();

    Parts parts_;
    std::array<unsigned, 2> free_{tokens_of_each, tokens_of_each};
    std::array<bool, 2> can_{true, true};
    std::deque<BlockTask*> ready_;
    std::array<std::deque<BlockTask*>, 2> waiting_;  // by the token they wait for
    bool paused_ = false;
    bool scheduled_ = false;
    std::function<void()> when_quiet_;
};

}  // namespace penumbra::vmm
