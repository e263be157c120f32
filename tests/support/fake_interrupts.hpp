// Interrupts and doorbells that a test looks at.
#pragma once

#include <sys/eventfd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <vector>

#include "base/mutex.hpp"
#include "vmm/devices/interrupts.hpp"

namespace penumbra::test {

class FakeInterrupts final : public vmm::Interrupts {
public:
    void signal(const vmm::MsiMessage& message) override {
        const MutexLock lock(mutex_);
        ++messages_[message.data];
        ++total_;
        last_ = message;
        changed_.notify_all();
    }
    void set_line(vmm::Gsi line, std::uint32_t source, vmm::LineLevel level) override {
        const MutexLock lock(mutex_);
        lines_[{static_cast<std::uint32_t>(line), source}] = level == vmm::LineLevel::high;
        if (level == vmm::LineLevel::high) ++total_;
        changed_.notify_all();
    }

    /// Messages with this data word so far.
    [[nodiscard]] std::uint64_t messages(std::uint32_t data) {
        const MutexLock lock(mutex_);
        return messages_[data];
    }
    [[nodiscard]] vmm::MsiMessage last() {
        const MutexLock lock(mutex_);
        return last_;
    }
    [[nodiscard]] bool high(std::uint32_t line, std::uint32_t source) {
        const MutexLock lock(mutex_);
        return lines_[{line, source}];
    }
    /// Messages and rising lines.
    [[nodiscard]] std::uint64_t total() {
        const MutexLock lock(mutex_);
        return total_;
    }
    /// Sleeps until total() exceeds `seen`; false when ten seconds passed.
    [[nodiscard]] bool wait_beyond(std::uint64_t seen) {
        const auto until = std::chrono::steady_clock::now() + std::chrono::seconds{10};
        const MutexLock lock(mutex_);
        while (total_ <= seen) {
            if (!changed_.wait_until(mutex_, until)) return total_ > seen;
        }
        return true;
    }

private:
    Mutex mutex_{LockRank::leaf};
    CondVar changed_;
    std::map<std::uint32_t, std::uint64_t> messages_ GUARDED_BY(mutex_);
    std::map<std::pair<std::uint32_t, std::uint32_t>, bool> lines_ GUARDED_BY(mutex_);
    std::uint64_t total_ GUARDED_BY(mutex_) = 0;
    vmm::MsiMessage last_ GUARDED_BY(mutex_);
};

class FakeDoorbells final : public vmm::Doorbells {
public:
    struct Bound {
        Gpa at;
        unsigned bytes = 0;
        int eventfd = -1;
        friend bool operator==(const Bound&, const Bound&) = default;
    };

    [[nodiscard]] Result<> bind(Gpa at, unsigned bytes, int eventfd) override {
        const MutexLock lock(mutex_);
        if (refuse_) return fail("bind a doorbell");
        bound_.push_back({at, bytes, eventfd});
        return {};
    }
    void unbind(Gpa at, unsigned bytes, int eventfd) override {
        const MutexLock lock(mutex_);
        const auto found = std::ranges::find(bound_, Bound{at, bytes, eventfd});
        if (found == bound_.end()) {
            ++wrong_unbinds_;
        } else {
            bound_.erase(found);
        }
    }

    /// A guest's write, as the kernel takes it; false: it is an ordinary access.
    bool write(Gpa at, unsigned bytes) {
        const MutexLock lock(mutex_);
        for (const Bound& bound : bound_) {
            if (bound.at == at && bound.bytes == bytes) return ::eventfd_write(bound.eventfd, 1) == 0;
        }
        return false;
    }
    void refuse() {
        const MutexLock lock(mutex_);
        refuse_ = true;
    }
    [[nodiscard]] std::vector<Bound> bound() {
        const MutexLock lock(mutex_);
        return bound_;
    }
    [[nodiscard]] unsigned wrong_unbinds() {
        const MutexLock lock(mutex_);
        return wrong_unbinds_;
    }

private:
    Mutex mutex_{LockRank::leaf};
    std::vector<Bound> bound_ GUARDED_BY(mutex_);
    bool refuse_ GUARDED_BY(mutex_) = false;
    unsigned wrong_unbinds_ GUARDED_BY(mutex_) = 0;
};

}  // namespace penumbra::test
