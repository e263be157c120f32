// A guest process's page table in a whole MemorySystem over a real userfaultfd, a thread that changes it as the guest's
// processor does, and a device that follows.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/thread.hpp"
#include "shadow-mmu/guest_walk/guest_entry.hpp"
#include "vmm/memory/memory_system.hpp"

namespace penumbra::test {

inline constexpr std::uint64_t open_bits =
    mmu::guest_entry::present | mmu::guest_entry::writable | mmu::guest_entry::user;
inline constexpr std::uint64_t used_bits = open_bits | mmu::guest_entry::accessed | mmu::guest_entry::dirty;
inline constexpr mmu::GuestAccess user_reads{mmu::AccessKind::read, mmu::Privilege::user};
inline constexpr mmu::GuestAccess user_writes{mmu::AccessKind::write, mmu::Privilege::user};

[[nodiscard]] constexpr std::uint64_t entry_of(Gfn page, std::uint64_t bits = used_bits) {
    return page.value() * page_bytes | bits;
}

/// A thread that stands in for a vCPU inside KVM_RUN: it may fault on the window.
class WatchGuest {
public:
    WatchGuest();
    ~WatchGuest();
    WatchGuest(const WatchGuest&) = delete;
    WatchGuest& operator=(const WatchGuest&) = delete;

    /// Has it store; it goes on at its own pace.
    void begin(std::uint64_t* to, std::uint64_t value);
    [[nodiscard]] bool done() const { return done_.load(std::memory_order_seq_cst) == asked_.load(); }
    /// Until the store is done.
    void finish() const;
    void store(std::uint64_t* to, std::uint64_t value) {
        begin(to, value);
        finish();
    }

private:
    void run();

    std::atomic<std::uint64_t> asked_{0};
    std::atomic<std::uint64_t> done_{0};
    std::atomic<bool> stop_{false};
    std::uint64_t* to_ = nullptr;
    std::uint64_t value_ = 0;
    Thread thread_;
};

struct WatchMachineOptions {
    std::uint64_t budget_bytes = 32ULL << 20;
    vmm::TakeOutMode take_out = vmm::TakeOutMode::move;
    vmm::StalePolicy stale = vmm::StalePolicy::fatal;
    bool dma = false;
};

/// Four levels: one table each at levels 4 to 2, `tables` lowest ones. Entry i maps page i, until it is changed. Every
/// data page says in its first word which it is, and in its second what the device wrote last.
/// The device's calls are one thread's.
class WatchMachine {
public:
    static constexpr std::uint64_t tables = 8;
    static constexpr std::uint64_t pages = 4096;
    static constexpr Gfn root{0x400};
    static constexpr Gfn lowest{0x403};
    static constexpr Gfn data{0x800};

    explicit WatchMachine(const WatchMachineOptions& options = {});

    [[nodiscard]] vmm::MemorySystem& memory() { return *memory_; }
    [[nodiscard]] mmu::ShadowTable& table() { return *memory_->shadow_table(); }
    [[nodiscard]] WatchGuest& guest() { return guest_; }
    [[nodiscard]] mmu::ContextId context() const { return context_; }
    [[nodiscard]] std::byte* host(Gfn gfn) { return pointer_to(*memory_->ept().memslots().to_host(gfn)); }
    /// Entry `page` of all lowest tables together.
    [[nodiscard]] std::uint64_t* entry(std::uint64_t page) { return word(lowest + page / 512, page % 512); }
    [[nodiscard]] std::uint64_t* word(Gfn gfn, std::uint64_t index) {
        return reinterpret_cast<std::uint64_t*>(host(gfn)) + index;
    }
    [[nodiscard]] static Gpa gpa_of_entry(std::uint64_t page) {
        return address_of(lowest + page / 512) + page % 512 * sizeof(std::uint64_t);
    }
    [[nodiscard]] static constexpr Gfn table_of(std::uint64_t page) { return lowest + page / 512; }
    [[nodiscard]] static Gva address(std::uint64_t page) { return Gva{page * page_bytes}; }
    [[nodiscard]] unsigned errors() const { return errors_.load(); }

    /// Builds the tables again; all that they map is page i at i.
    void build();
    /// The device gets at the page, whatever has to be brought in or waited for. nullopt: the guest's tables forbid it.
    [[nodiscard]] std::optional<mmu::ShadowTable::Access> reach(std::uint64_t page, mmu::GuestAccess access);
    /// What the device reads there: the data page's number.
    [[nodiscard]] std::optional<Gfn> seen(std::uint64_t page);
    void bring_in(Gfn gfn);
    /// Takes one page out.
    [[nodiscard]] bool evict(Gfn gfn);

private:
    std::atomic<unsigned> errors_{0};
    std::unique_ptr<vmm::MemorySystem> memory_;
    WatchGuest guest_;
    mmu::ContextId context_{};
};

}  // namespace penumbra::test
