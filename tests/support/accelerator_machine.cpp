#include "tests/support/accelerator_machine.hpp"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "tests/support/guest_touch.hpp"

namespace penumbra::test {

using abi::AccelRegister;
using std::chrono::steady_clock;

namespace {

constexpr std::chrono::seconds patience{10};

mmu::NodeArena make_arena() {
    Result<mmu::NodeArena> arena = mmu::NodeArena::create(64);
    PENUMBRA_ASSERT(arena.has_value(), "no memory for a test");
    return std::move(*arena);
}

}  // namespace

mmu::Memslots AcceleratorMachine::make_slots(const FakeWindow& window) {
    const Hvp first = window.pages().first();
    return mmu::Memslots({{GfnRange{low_first, slot_pages}, first}, {GfnRange{high_first, slot_pages}, first + 1024}});
}

AcceleratorMachine::AcceleratorMachine(const mmu::ShadowLimits& processes)
    : ept_(make_slots(window_), make_arena(), window_),
      table_("accelerator", make_slots(window_), make_arena(), tlb_),
      watched_(ept_, window_, [](Hvp) { return false; }),
      watches_(watched_, ept_, window_),
      processes_("svm", make_slots(window_), {watched_, watches_, context_tlb_}, processes),
      ept_subscription_(space_.subscribe(ept_)),
      table_subscription_(space_.subscribe(table_)),
      processes_subscription_(space_.subscribe(processes_)),
      source_(ept_, pager_) {
    vmm::AcceleratorOptions options;
    options.on_error = [this](const Error&) { note_error(); };
    device_.emplace(table_, source_, processes_, std::move(options));
}

AcceleratorMachine::~AcceleratorMachine() {
    stop_evictor();
    pager_.set_mood(FakePages::Mood::serve);
    device_.reset();
}

void AcceleratorMachine::write(Gpa to, std::span<const std::byte> from) {
    for (std::size_t done = 0; done < from.size();) {
        const Gpa here = to + done;
        const std::size_t piece = std::min(from.size() - done, page_bytes - page_offset(here));
        switch (watches_.try_store(here, from.subspan(done, piece))) {
            case HonouredWatches::Stored::done:
                done += piece;
                break;
            case HonouredWatches::Stored::watched:
                processes_.written(frame_of(here));
                break;
            case HonouredWatches::Stored::absent: {
                const auto outcome = mmu::handle_fault(ept_, pager_, frame_of(here), mmu::FaultAccess::write);
                PENUMBRA_ASSERT(outcome && *outcome != mmu::FaultOutcome::emulate,
                                "the test's guest wrote what is not there");
                break;
            }
        }
    }
}

void AcceleratorMachine::read(Gpa from, std::span<std::byte> to) { guest_read(ept_, pager_, from, to); }

std::uint64_t AcceleratorMachine::load(Gpa from) {
    std::uint64_t value = 0;
    guest_touch(ept_, pager_, from, sizeof(value), [&](std::byte* at, std::uint64_t, std::uint64_t) {
        value = std::atomic_ref(*reinterpret_cast<std::uint64_t*>(at)).load(std::memory_order_seq_cst);
    });
    return value;
}

void AcceleratorMachine::enable(std::uint64_t entries) {
    entries_ = entries;
    put_ = 0;
    set(AccelRegister::ring_gpa, address_of(low_first).value());
    set(AccelRegister::ring_entries, entries);
    set(AccelRegister::control, 1);
}

void AcceleratorMachine::put(const abi::AccelCommand& command) {
    write(address_of(low_first) + put_ % entries_ * sizeof(command), std::as_bytes(std::span{&command, 1}));
    ++put_;
}

abi::AccelCommand AcceleratorMachine::slot(std::uint64_t count) {
    abi::AccelCommand command{};
    read(address_of(low_first) + count % entries_ * sizeof(command), std::as_writable_bytes(std::span{&command, 1}));
    return command;
}

bool AcceleratorMachine::wait_for_head(std::uint64_t count) {
    const auto until = steady_clock::now() + patience;
    while (get(AccelRegister::head) != count) {
        if (steady_clock::now() > until) return false;
        ::sched_yield();
    }
    return true;
}

std::optional<abi::AccelCommand> AcceleratorMachine::run(const abi::AccelCommand& command) {
    put(command);
    doorbell();
    if (!wait_for_all()) return std::nullopt;
    return slot(put_ - 1);
}

void AcceleratorMachine::start_evictor(std::uint64_t seed, std::chrono::microseconds longest_pause) {
    {
        const MutexLock lock(mutex_);
        evicting_ = true;
    }
    evictor_ = Thread("evictor", ThreadRole::vmm, [this, seed, longest_pause] { evict_for_ever(seed, longest_pause); });
}

void AcceleratorMachine::stop_evictor() {
    {
        const MutexLock lock(mutex_);
        evicting_ = false;
        changed_.notify_all();
    }
    evictor_.join();
}

void AcceleratorMachine::evict_for_ever(std::uint64_t seed, std::chrono::microseconds longest_pause) {
    std::mt19937_64 random(seed);
    for (;;) {
        bridge::RangeSet ranges;
        for (const mmu::Memslot& slot : table_.memslots().slots()) {
            if (random() % 4 == 0) continue;
            const std::uint64_t first = random() % slot_pages;
            ranges.add(HvpRange{slot.host + first, 1 + random() % (slot_pages - first)});
        }
        const mmu::Memslot& unwilling = table_.memslots().slots()[random() % 2];
        window_.keep(unwilling.host + random() % slot_pages);
        const auto blockable = random() % 4 == 0 ? bridge::Blockable::no : bridge::Blockable::yes;
        if (!ranges.empty()) (void)swap_out(space_, pager_, ranges, staging_, blockable);

        const auto span = static_cast<std::uint64_t>(longest_pause.count()) + 1;
        const auto until = steady_clock::now() + std::chrono::microseconds{random() % span};
        const MutexLock lock(mutex_);
        while (evicting_ && changed_.wait_until(mutex_, until)) {
        }
        if (!evicting_) return;
    }
}

void AcceleratorMachine::evict_all() {
    bridge::RangeSet ranges;
    for (const mmu::Memslot& slot : table_.memslots().slots()) ranges.add(slot.host_pages());
    (void)swap_out(space_, pager_, ranges, staging_);
}

void AcceleratorMachine::evict(Gfn page) {
    bridge::RangeSet ranges;
    ranges.add({*table_.memslots().to_host(page), 1});
    (void)swap_out(space_, pager_, ranges, staging_);
}

void AcceleratorMachine::note_error() {
    const MutexLock lock(mutex_);
    ++errors_;
    changed_.notify_all();
}

unsigned AcceleratorMachine::errors() {
    const MutexLock lock(mutex_);
    return errors_;
}

bool AcceleratorMachine::wait_for_error() {
    const auto until = steady_clock::now() + patience;
    const MutexLock lock(mutex_);
    while (errors_ == 0 && changed_.wait_until(mutex_, until)) {
    }
    return errors_ > 0;
}

}  // namespace penumbra::test
