// The thread that keeps the store in step with what a tier knows: takes dropped pages off, a moment later and many at
// once, and puts off the expiry of those that are stored.
//
// Every key carries a time to live of its own, so that any server gets rid of what a dead VM left, with nobody's help.
// Renewing costs one PEXPIRE per page and quarter of the expiry: at the usual hour 1100 commands a second for each
// million pages, which is 0.1 % of what a server does in pipelines. A single lease key would be cheaper to renew, but a
// plain server drops nothing because another key went.
#pragma once

#include <chrono>
#include <cstdint>

#include "base/mutex.hpp"
#include "base/thread.hpp"
#include "vmm/memory/tier/remote/key_batches.hpp"

namespace penumbra::vmm {

class Keeper {
public:
    using Time = std::chrono::steady_clock::time_point;
    static constexpr std::chrono::milliseconds linger{20};        ///< more drops may come
    static constexpr std::chrono::milliseconds retry_pause{250};  ///< after a failure
    static constexpr int passes_per_expiry = 4;

    Keeper(SlotBook& book, const PageKeys& keys, const RemoteAccess& access, RemoteStatus& status,
           std::chrono::milliseconds expiry);
    ~Keeper();
    Keeper(const Keeper&) = delete;
    Keeper& operator=(const Keeper&) = delete;

    /// `added` pages are leaving since a moment ago; now there are `leaving`. Any thread; cheap.
    void notice(std::uint64_t added, std::uint64_t leaving);

private:
    static constexpr Time never = Time::max();

    void run();
    /// Sleeps until something is to be done; false when the thread is to end.
    [[nodiscard]] bool sleep();
    void drop_some();
    void renew_some();

    SlotBook& book_;
    const PageKeys& keys_;
    RemoteStatus& status_;
    const std::chrono::milliseconds expiry_;

    // The thread's alone.
    Link link_;
    std::uint64_t cursor_ = 0;
    Time pass_began_;
    Time next_renewal_;
    bool drops_due_ = false;
    bool renewal_due_ = false;

    Mutex mutex_{LockRank::leaf};
    CondVar wake_;
    bool stop_ GUARDED_BY(mutex_) = false;
    Time next_drops_ GUARDED_BY(mutex_) = never;
    Time not_before_ GUARDED_BY(mutex_){};  // after a failure
    Thread thread_;
};

}  // namespace penumbra::vmm
