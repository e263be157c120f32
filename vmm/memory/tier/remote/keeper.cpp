#include "vmm/memory/tier/remote/keeper.hpp"

#include <algorithm>

#include "base/wait.hpp"

namespace penumbra::vmm {

Keeper::Keeper(SlotBook& book, const PageKeys& keys, const RemoteAccess& access, RemoteStatus& status,
               std::chrono::milliseconds expiry)
    : book_(book),
      keys_(keys),
      status_(status),
      expiry_(expiry),
      link_(access, status),
      pass_began_(steady_now() + expiry / passes_per_expiry),
      next_renewal_(pass_began_),
      thread_("remote-keeper", ThreadRole::vmm, [this] { run(); }) {}

Keeper::~Keeper() {
    {
        const MutexLock lock{mutex_};
        stop_ = true;
        wake_.notify_all();
    }
    thread_.join();
}

void Keeper::notice(std::uint64_t added, std::uint64_t leaving) {
    const std::uint64_t before = leaving - std::min(added, leaving);
    const bool first = before == 0;
    const bool many = before < keys_per_batch && leaving >= keys_per_batch;
    if (!first && !many) return;
    const MutexLock lock{mutex_};
    const Time at = std::max(steady_now() + (many ? std::chrono::milliseconds{0} : linger), not_before_);
    if (at >= next_drops_) return;
    next_drops_ = at;
    wake_.notify_all();
}

bool Keeper::sleep() {
    const MutexLock lock{mutex_};
    while (!stop_) {
        const Time now = steady_now();
        drops_due_ = now >= next_drops_;
        renewal_due_ = now >= next_renewal_;
        if (drops_due_) next_drops_ = never;
        if (drops_due_ || renewal_due_) return true;
        (void)wake_.wait_until(mutex_, std::min(next_drops_, next_renewal_));
    }
    return false;
}

void Keeper::run() {
    while (sleep()) {
        if (drops_due_) drop_some();
        if (renewal_due_) renew_some();
    }
}

void Keeper::drop_some() {
    const TakenOff done = take_off(link_, book_, keys_);
    const bool reached = done.gone == done.tried;
    const std::uint64_t leaving = book_.leaving();
    const MutexLock lock{mutex_};
    const Time now = steady_now();
    not_before_ = reached ? Time{} : now + retry_pause;
    if (leaving == 0) return;
    const Time at = leaving >= keys_per_batch ? now : now + linger;
    next_drops_ = std::min(next_drops_, std::max(at, not_before_));
}

void Keeper::renew_some() {
    const Time now = steady_now();
    if (!renew(link_, book_, keys_, status_, expiry_, cursor_)) {
        next_renewal_ = now + retry_pause;
        return;
    }
    const auto pass = expiry_ / passes_per_expiry;
    const std::uint64_t slots = book_.opened();
    if (cursor_ >= slots) {
        cursor_ = 0;
        pass_began_ = std::max(pass_began_ + pass, now);
        next_renewal_ = pass_began_;
        return;
    }
    const double part = static_cast<double>(cursor_) / static_cast<double>(slots);
    next_renewal_ = pass_began_ + std::chrono::duration_cast<Time::duration>(pass * part);
}

}  // namespace penumbra::vmm
