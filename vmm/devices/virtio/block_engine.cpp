#include "vmm/devices/virtio/block_engine.hpp"

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include "base/assert.hpp"

namespace penumbra::vmm {

bool BlockEngine::take(Token token, BlockTask& task) {
    if (free(token) > 0) {
        --free(token);
        return true;
    }
    if (!task.waits_for_token_) {
        task.waits_for_token_ = true;
        waiting_[static_cast<std::size_t>(token)].push_back(&task);
    }
    return false;
}

void BlockEngine::want(BlockTask& task, Gfn gfn, mmu::FaultAccess access, DmaClient::Then granted) {
    parts_.counters.wanted_pages.add();
    ++task.wishes_;
    parts_.want(gfn, access, [this, &task, granted = std::move(granted)](DmaGrant grant) {
        --task.wishes_;
        if (granted) {
            granted(grant);
        } else if (grant == DmaGrant::not_ram) {
            task.fail(EFAULT);
        }
        run(task);
        schedule();
    });
}

void BlockEngine::transfer(BlockTask& task, Token token, DiskIo::Direction direction, std::uint64_t offset,
                           std::span<const iovec> pieces, std::vector<DmaHold> holds) {
    parts_.io.transfer(direction, offset, pieces, done_with(task, token, direction, std::move(holds)));
}

void BlockEngine::sync(BlockTask& task, Token token) {
    parts_.io.sync(done_with(task, token, DiskIo::Direction::write, {}));
}

void BlockEngine::clear(BlockTask& task, Token token, DiskIo::Clear how, std::uint64_t offset, std::uint64_t bytes,
                        std::function<void(int)> ended) {
    ++task.operations_;
    parts_.counters.kernel_requests.add();
    parts_.io.clear(how, offset, bytes, [this, &task, token, ended = std::move(ended)](int error_number) {
        if (error_number != 0 && error_number != EOPNOTSUPP) {
            parts_.trouble(DiskIo::Direction::write, error_number);
        }
        ended(error_number);
        operation_ended(task, token);
    });
}

DiskIo::Done BlockEngine::done_with(BlockTask& task, Token token, DiskIo::Direction direction,
                                    std::vector<DmaHold> holds) {
    PENUMBRA_ASSERT(!paused_, "kernel I/O begun by a paused disk");
    ++task.operations_;
    parts_.counters.kernel_requests.add();
    return [this, &task, token, direction, kept = std::move(holds)](int error_number) mutable {
        kept.clear();
        if (error_number != 0) {
            parts_.trouble(direction, error_number);
            task.fail(error_number);
        }
        operation_ended(task, token);
    };
}

void BlockEngine::operation_ended(BlockTask& task, Token token) {
    --task.operations_;
    give_back(token);
    ready(task);
    if (when_quiet_ && parts_.io.in_flight() == 0) std::exchange(when_quiet_, {})();
}

void BlockEngine::ready(BlockTask& task) {
    if (!task.ready_) {
        task.ready_ = true;
        ready_.push_back(&task);
    }
    schedule();
}

void BlockEngine::schedule() {
    if (paused_ || scheduled_) return;
    scheduled_ = true;
    parts_.schedule();
}

void BlockEngine::work() {
    scheduled_ = false;
    if (paused_) return;
    do {
        while (!ready_.empty()) {
            BlockTask& task = *ready_.front();
            ready_.pop_front();
            task.ready_ = false;
            run(task);
        }
        wake_waiting();
    } while (!ready_.empty());
    parts_.io.submit();
}

void BlockEngine::run(BlockTask& task) {
    if (task.run() == BlockTask::Next::waits) return;
    PENUMBRA_ASSERT(task.idle(), "a request ended with something still on its way to it");
    if (task.ready_) std::erase(ready_, &task);
    if (task.waits_for_token_) {
        for (auto& queue : waiting_) std::erase(queue, &task);
    }
    parts_.ended(task);
}

/// As many as there are tokens: each takes one, ends, or waits for something else, so this comes to an end.
void BlockEngine::wake_waiting() {
    for (std::size_t token = 0; token < waiting_.size(); ++token) {
        for (unsigned left = free_[token]; left > 0 && !waiting_[token].empty(); --left) {
            BlockTask& task = *waiting_[token].front();
            waiting_[token].pop_front();
            task.waits_for_token_ = false;
            if (task.ready_) continue;
            task.ready_ = true;
            ready_.push_back(&task);
        }
    }
}

void BlockEngine::pause(std::function<void()> done) {
    paused_ = true;
    if (parts_.io.in_flight() == 0) return done();
    parts_.io.submit();  // what was begun and not yet handed over
    when_quiet_ = std::move(done);
}

void BlockEngine::resume() {
    paused_ = false;
    schedule();
}

void BlockEngine::forget() {
    PENUMBRA_ASSERT(paused_ && parts_.io.in_flight() == 0, "a disk was reset under the kernel's I/O");
    ready_.clear();
    for (auto& queue : waiting_) queue.clear();
    free_ = {tokens_of_each, tokens_of_each};
}

}  // namespace penumbra::vmm
