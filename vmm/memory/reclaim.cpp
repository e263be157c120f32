#include "vmm/memory/reclaim.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>
#include <vector>

#include "base/assert.hpp"
#include "base/planted.hpp"
#include "base/wait.hpp"
#include "notifier-bridge/source/memory_ops.hpp"

namespace penumbra::vmm {

using bridge::Blockable;
using bridge::TakeOut;

namespace {

constexpr std::uint64_t mib = 1ULL << 20;
constexpr unsigned most_idle_steps = 200;
constexpr std::chrono::milliseconds idle_pause{1};

std::uint64_t headroom(std::uint64_t limit, std::uint64_t divisor) {
    return std::clamp(limit / divisor, mib / 4, 64 * mib);
}

}  // namespace

ReclaimLimits ReclaimLimits::of_budget(std::uint64_t bytes, std::uint64_t limbo_slots) {
    return {.high_water = bytes - headroom(bytes, 64),
            .low_water = bytes - headroom(bytes, 32),
            .pool_share = bytes / 2,
            .limbo_target = limbo_slots / 2,
            .resident_floor = std::max<std::uint64_t>(256, (bytes >> page_shift) / 32)};
}

Reclaimer::Reclaimer(PagerState& state, bridge::AddressSpace& space, StagingMemory& staging, InUse in_use,
                     const ReclaimLimits& limits)
    : state_(state),
      space_(space),
      staging_(staging),
      in_use_(std::move(in_use)),
      limits_(limits),
      write_back_buffer_(std::make_unique_for_overwrite<std::byte[]>(batch * page_bytes)),
      thread_("reclaim", ThreadRole::vmm, [this] { run(); }) {}

void Reclaimer::stop() {
    {
        const MutexLock lock(mutex_);
        stop_ = true;
        wake_.notify_all();
    }
    thread_.join();
    // The window is given up next: fault threads that still help must be through.
    for (std::uint32_t n = helpers_.load(std::memory_order_seq_cst); n != 0;
         n = helpers_.load(std::memory_order_seq_cst)) {
        wait_while(helpers_, n);
    }
}

void Reclaimer::kick() {
    if (pending_.exchange(true, std::memory_order_acq_rel)) return;
    const MutexLock lock(mutex_);
    kicked_ = true;
    if (!planted(Plant::kick_wakes_nobody)) wake_.notify_all();
}

std::optional<Error> Reclaimer::exhausted() const {
    const MutexLock lock(mutex_);
    return exhausted_;
}

void Reclaimer::retry() {
    {
        const MutexLock lock(mutex_);
        exhausted_.reset();
        failure_.reset();
    }
    kick();
}

void Reclaimer::note_failure(const Error& error) {
    const MutexLock lock(mutex_);
    failure_ = error;
}

void Reclaimer::run() {
    for (;;) {
        {
            const MutexLock lock(mutex_);
            while (!kicked_ && !stop_) wake_.wait(mutex_);
            if (stop_) return;
            kicked_ = false;
        }
        pending_.store(false, std::memory_order_release);
        pass();
    }
}

void Reclaimer::pass() {
    state_.stats.reclaim_passes.add();
    passed_over_.store(false, std::memory_order_relaxed);
    if (!free_wanted_slots()) return;
    unsigned idle_steps = 0;
    while (state_.budget.charged() > limits_.low_water && !state_.stopping.load(std::memory_order_acquire)) {
        idle_steps = step() ? 0 : idle_steps + 1;
        state_.budget.announce_room();
        const MutexLock lock(mutex_);
        if (stop_) return;
        if (idle_steps == 0) continue;
        if (idle_steps == most_idle_steps) break;
        (void)wake_.wait_until(mutex_, steady_now() + idle_pause);
    }
    if (state_.budget.has_room()) {
        const MutexLock lock(mutex_);
        exhausted_.reset();
    } else if (idle_steps > 0 && !passed_over_.load(std::memory_order_relaxed)) {  // I/O ends: who waits kicks again
        give_up();
    }
    state_.budget.announce_room();
}

bool Reclaimer::free_wanted_slots() {
    unsigned idle_steps = 0;
    for (;;) {
        {
            const MutexLock lock(mutex_);
            if (stop_ || state_.limbo->free_slots() >= wanted_slots_) {
                wanted_slots_ = 0;
                wake_.notify_all();
                return true;
            }
            if (idle_steps > 0) (void)wake_.wait_until(mutex_, steady_now() + idle_pause);
        }
        idle_steps = pack(batch, PackTarget::any) > 0 ? 0 : idle_steps + 1;
        if (idle_steps < most_idle_steps) continue;
        give_up();
        return false;
    }
}

void Reclaimer::give_up() {
    const MutexLock lock(mutex_);
    exhausted_ = failure_.value_or(Error{"keep the machine within its memory budget", "", 0,
                                         "no tier has room left: raise --budget or add --swap file:PATH"});
    slots_refused_ = wanted_slots_ != 0;
    wanted_slots_ = 0;
    wake_.notify_all();
}

bool Reclaimer::wait_for_slots(std::uint32_t slots) {
    const MutexLock lock(mutex_);
    wanted_slots_ = std::min(slots, state_.limbo->slots());
    slots_refused_ = false;
    kicked_ = true;
    wake_.notify_all();
    while (wanted_slots_ != 0 && !stop_) wake_.wait(mutex_);
    return !stop_ && !slots_refused_;
}

bool Reclaimer::may_evict() const { return state_.budget.pages() > state_.limbo->used() + limits_.resident_floor; }

bool Reclaimer::step() {
    const std::uint64_t in_limbo = state_.limbo->used();
    bool progress = false;
    if (in_limbo < limits_.limbo_target && may_evict()) progress = evict(batch, Blockable::yes) > 0;
    if (in_limbo >= limits_.limbo_target || !progress) progress = pack(batch, PackTarget::any) > 0 || progress;
    if (state_.slow.any() && state_.compressed && state_.compressed->charged_bytes() > limits_.pool_share) {
        progress = write_back(batch) > 0 || progress;
    }
    if (state_.compressed) {
        (void)state_.compressed->compact(
            batch, [this](std::uint64_t page, StoreHandle from, StoreHandle to) { return relocate(page, from, to); });
    }
    if (!progress) progress = drop_copies(CopyTier::compressed, batch) > 0;
    return progress;
}

void Reclaimer::help() {
    if (!state_.compressed) return;
    constexpr std::size_t few = 16;
    helpers_.fetch_add(1, std::memory_order_seq_cst);
    if (!state_.stopping.load(std::memory_order_seq_cst)) {
        // Below the floor a guest would go on by a page in, a page out, and nobody would be told that it does not fit.
        if (may_evict()) (void)evict(few, Blockable::no);
        (void)pack(few, PackTarget::memory_only);
        state_.budget.announce_room();
    }
    if (helpers_.fetch_sub(1, std::memory_order_seq_cst) == 1) wake_all(helpers_);
}

std::size_t Reclaimer::evict(std::size_t wanted, Blockable blockable) {
    constexpr std::uint64_t stride = 64;
    const std::uint64_t pages = state_.words.pages();
    const std::uint64_t strides = (pages + stride - 1) / stride;
    std::vector<Hvp> victims;
    victims.reserve(wanted + stride);
    for (std::uint64_t seen = 0; seen < 2 * strides && victims.size() < wanted; ++seen) {
        // Several threads share the hand, so a later stride may lie below an earlier one: sorted at the end.
        const std::uint64_t first = hand_.fetch_add(1, std::memory_order_relaxed) % strides * stride;
        for (std::uint64_t i = first; i < std::min(first + stride, pages); ++i) {
            const PageIndex page{static_cast<std::uint32_t>(i)};
            const PageWord word = state_.words.load(page);
            // One slow I/O must not hold up the batch, and everybody who needs the room.
            if (word.state() != PageState::resident) continue;
            if (in_use_(state_.page_at(page))) {
                passed_over_.store(true, std::memory_order_relaxed);
                continue;
            }
            if (word.hot()) {
                (void)state_.words.change(page, word, word.cooled());
            } else {
                victims.push_back(state_.page_at(page));
            }
        }
    }
    std::sort(victims.begin(), victims.end());
    victims.erase(std::unique(victims.begin(), victims.end()), victims.end());
    if (victims.size() > wanted) victims.resize(wanted);
    return evict_pages(victims, blockable).taken;
}

bool Reclaimer::record_taken(PageIndex page, std::uint32_t slot) {
    for (;;) {
        const PageWord word = state_.words.load(page);
        // Discarded, and uncharged, while it was leaving: what is in the slot is nobody's.
        if (word.state() == PageState::zero) {
            if (planted(Plant::keep_discarded)) state_.limbo->occupy(slot, page);
            return false;
        }
        PENUMBRA_ASSERT(word.state() == PageState::resident, "a page left the window that was not resident");
        state_.limbo->set_copy(slot, word.copy());
        state_.limbo->occupy(slot, page);
        if (state_.words.change(page, word, word.next_version().moved_to(PageState::limbo, slot))) return true;
        state_.limbo->vacate(slot);
        state_.limbo->set_copy(slot, {});  // it is still the word's
    }
}

Reclaimer::Evicted Reclaimer::evict_pages(std::span<const Hvp> pages, Blockable blockable) {
    Evicted result;
    while (!pages.empty()) {
        const SlotSpan span =
            state_.limbo->reserve(static_cast<std::uint32_t>(std::min<std::size_t>(pages.size(), 256)));
        if (span.count == 0) return result;  // limbo is full: pack first
        std::vector<Hvp> slots(span.count);
        for (std::uint32_t i = 0; i < span.count; ++i) slots[i] = state_.limbo->page_of_slot(span.first + i);
        std::vector<TakeOut> outcomes(span.count);
        const auto some = pages.first(span.count);
        const auto settle = [&](std::size_t i, TakeOut outcome) {
            if (outcome == TakeOut::kept) {
                state_.stats.kept.add();
                ++result.kept;
            }
            if (outcome != TakeOut::taken) return;
            const PageIndex page = state_.index_of(some[i]);
            const auto slot = span.first + static_cast<std::uint32_t>(i);
            if (!record_taken(page, slot)) return;
            state_.stats.swapped_out.add();
            ++result.taken;
        };
        const bridge::Bracket bracket = bridge::swap_out(space_, some, slots, outcomes, blockable, settle);
        const bool nothing_moved = bracket == bridge::Bracket::would_block;
        if (!nothing_moved || !state_.limbo->cancel(span)) state_.limbo->commit(span);
        if (nothing_moved) {
            state_.stats.would_block.add();
            return result;
        }
        result.reached += span.count;
        pages = pages.subspan(span.count);
    }
    return result;
}

}  // namespace penumbra::vmm
