#include "tests/host/watch_machine.hpp"

#include <sched.h>

#include <array>
#include <cstring>
#include <thread>
#include <utility>

#include "base/assert.hpp"

namespace penumbra::test {

WatchGuest::WatchGuest() : thread_("guest", ThreadRole::vcpu, [this] { run(); }) {}

WatchGuest::~WatchGuest() {
    stop_.store(true);
    asked_.fetch_add(1);
    asked_.notify_all();
}

void WatchGuest::begin(std::uint64_t* to, std::uint64_t value) {
    to_ = to;
    value_ = value;
    asked_.fetch_add(1, std::memory_order_seq_cst);
    asked_.notify_all();
}

void WatchGuest::finish() const {
    for (std::uint64_t done = done_.load(); done != asked_.load(); done = done_.load()) done_.wait(done);
}

void WatchGuest::run() {
    constexpr unsigned turns = 1000;  // awake for so long after a store, so that the next one begins at once
    const InGuestScope guest(*ThreadRegister::self());
    for (std::uint64_t next = 1;; ++next) {
        for (unsigned turn = 0; asked_.load(std::memory_order_seq_cst) < next && turn < turns; ++turn) ::sched_yield();
        for (std::uint64_t now = asked_.load(); now < next; now = asked_.load()) asked_.wait(now);
        if (stop_.load()) return;
        std::atomic_ref(*to_).store(value_, std::memory_order_seq_cst);
        done_.store(next, std::memory_order_seq_cst);
        done_.notify_all();
    }
}

WatchMachine::WatchMachine(const WatchMachineOptions& options) {
    vmm::MemoryOptions memory;
    memory.memory_bytes = 32ULL << 20;
    memory.budget_bytes = options.budget_bytes;
    memory.compress = true;
    memory.take_out = options.take_out;
    memory.stale = options.stale;
    memory.accelerator = true;
    memory.dma = options.dma;
    // Nobody here works between two quarrels: slices would be all the time that passes.
    memory.processes.progress.first_slice = memory.processes.progress.longest_slice = std::chrono::microseconds{0};
    memory.on_error = [this](const Error&) { errors_.fetch_add(1); };
    memory.on_served = [](pid_t) {};
    Result<std::unique_ptr<vmm::MemorySystem>> made = vmm::MemorySystem::create(std::move(memory));
    if (!made) assertion_failed("memory", __FILE__, __LINE__, made.error().message());
    memory_ = std::move(*made);
    build();
    const auto context = table().open_context({.root = address_of(root), .mode = {}});
    PENUMBRA_ASSERT(context.has_value(), "no context left");
    context_ = *context;
}

void WatchMachine::build() {
    const auto write = [&](Gpa to, std::uint64_t value) {
        const Result<> written = memory_->write(to, std::as_bytes(std::span(&value, 1)));
        PENUMBRA_ASSERT(written.has_value(), "guest memory cannot be written");
    };
    write(address_of(root), entry_of(root + 1));
    write(address_of(root + 1), entry_of(root + 2));
    for (std::uint64_t t = 0; t < tables; ++t) write(address_of(root + 2) + t * 8, entry_of(lowest + t));
    for (std::uint64_t i = 0; i < pages; ++i) {
        write(gpa_of_entry(i), entry_of(data + i));
        write(address_of(data + i), (data + i).value());
        write(address_of(data + i) + 8, 0);
    }
}

void WatchMachine::bring_in(Gfn gfn) {
    std::array<std::byte, 8> bytes{};
    const Result<> read = memory_->read(address_of(gfn), bytes);
    PENUMBRA_ASSERT(read.has_value(), "guest memory cannot be read");
}

bool WatchMachine::evict(Gfn gfn) {
    const Hvp page = *memory_->ept().memslots().to_host(gfn);
    const auto evicted = memory_->reclaimer().evict_pages(std::span(&page, 1), bridge::Blockable::yes);
    return evicted.taken == 1;
}

std::optional<mmu::ShadowTable::Access> WatchMachine::reach(std::uint64_t page, mmu::GuestAccess access) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{60};
    while (std::chrono::steady_clock::now() < deadline) {
        if (auto reached = table().access(context_, address(page), access)) return reached;
        const mmu::ShadowAnswer answer = table().fault(context_, address(page), access);
        switch (answer.outcome) {
            case mmu::ShadowOutcome::installed:
            case mmu::ShadowOutcome::spurious:
            case mmu::ShadowOutcome::retry:
                continue;
            case mmu::ShadowOutcome::pages_wanted:
                for (const mmu::WantedPage& wanted : answer.wanted()) bring_in(wanted.gfn);
                continue;
            case mmu::ShadowOutcome::wait:
                std::this_thread::sleep_until(answer.wait_until);
                continue;
            case mmu::ShadowOutcome::guest_fault:
                return std::nullopt;
            default:
                assertion_failed("page", __FILE__, __LINE__, "a device's fault came to nothing");
        }
    }
    assertion_failed("in time", __FILE__, __LINE__, "a device's fault did not end");
}

std::optional<Gfn> WatchMachine::seen(std::uint64_t page) {
    const auto access = reach(page, user_reads);
    if (!access) return std::nullopt;
    std::uint64_t number = 0;
    std::memcpy(&number, pointer_to(access->page), sizeof number);
    return Gfn{number};
}

}  // namespace penumbra::test
