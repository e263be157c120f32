// A machine without a guest: fake window and pager, the real tables and bridge, the real accelerator, and a thread that
// keeps taking random pages out. The test's thread plays the guest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "base/mutex.hpp"
#include "base/thread.hpp"
#include "notifier-bridge/address_space.hpp"
#include "shadow-mmu/fault/window_source.hpp"
#include "shadow-mmu/flush/device_tlb.hpp"
#include "shadow-mmu/shadow/shadow_table.hpp"
#include "shadow-mmu/tables/device_table.hpp"
#include "shadow-mmu/tables/ept_table.hpp"
#include "shadow-mmu/tables/watched_window.hpp"
#include "tests/support/fake_window.hpp"
#include "tests/support/honoured_watches.hpp"
#include "vmm/devices/accelerator/accelerator.hpp"

namespace penumbra::test {

class AcceleratorMachine {
public:
    // Two memory slots, so that commands may run into a hole; in the window they lie in different 2 MiB regions.
    static constexpr std::uint64_t slot_pages = 40;
    static constexpr Gfn low_first{16};
    static constexpr Gfn high_first{0x10'0000};

    explicit AcceleratorMachine(const mmu::ShadowLimits& processes = {});
    AcceleratorMachine(const AcceleratorMachine&) = delete;
    AcceleratorMachine& operator=(const AcceleratorMachine&) = delete;
    ~AcceleratorMachine();

    // ---- the guest ----
    /// As processors write: through the watches of guest tables.
    void write(Gpa to, std::span<const std::byte> from);
    /// One word, at once.
    void store(Gpa to, std::uint64_t value) { write(to, std::as_bytes(std::span{&value, 1})); }
    void read(Gpa from, std::span<std::byte> to);
    [[nodiscard]] std::uint64_t load(Gpa from);
    void set(abi::AccelRegister at, std::uint64_t value) { device().write(static_cast<std::uint64_t>(at), 8, value); }
    [[nodiscard]] std::uint64_t get(abi::AccelRegister at) { return device().read(static_cast<std::uint64_t>(at), 8); }
    /// Ring at the start of the low slot.
    void enable(std::uint64_t entries);
    /// Puts a command into the ring's next slot; doorbell() submits all that were put.
    void put(const abi::AccelCommand& command);
    void doorbell() { set(abi::AccelRegister::doorbell, put_); }
    /// False when the head has not reached `count` in ten seconds.
    [[nodiscard]] bool wait_for_head(std::uint64_t count);
    [[nodiscard]] bool wait_for_all() { return wait_for_head(put_); }
    [[nodiscard]] abi::AccelCommand slot(std::uint64_t count);
    /// put, doorbell, wait; nullopt when no answer came.
    [[nodiscard]] std::optional<abi::AccelCommand> run(const abi::AccelCommand& command);
    [[nodiscard]] std::uint64_t entries() const { return entries_; }

    // ---- the host ----
    /// Takes random pages out, again and again, with pauses of up to `longest_pause`.
    void start_evictor(std::uint64_t seed, std::chrono::microseconds longest_pause);
    void stop_evictor();
    void evict_all();
    void evict(Gfn page);

    [[nodiscard]] vmm::Accelerator& device() { return *device_; }
    [[nodiscard]] FakeWindow& window() { return window_; }
    [[nodiscard]] FakePages& pager() { return pager_; }
    [[nodiscard]] mmu::DeviceTable& table() { return table_; }
    [[nodiscard]] mmu::ShadowTable& processes() { return processes_; }
    [[nodiscard]] bridge::AddressSpace& space() { return space_; }
    [[nodiscard]] bool wait_for_error();
    [[nodiscard]] unsigned errors();

private:
    void evict_for_ever(std::uint64_t seed, std::chrono::microseconds longest_pause);
    void note_error();

    static constexpr std::uint64_t window_pages = 1024 + slot_pages;
    static mmu::Memslots make_slots(const FakeWindow& window);

    FakeWindow window_{window_pages};
    FakePages pager_{window_.pages()};
    bridge::AddressSpace space_;
    mmu::DeviceTlb tlb_;
    mmu::EptTable ept_;
    mmu::DeviceTable table_;
    mmu::WatchedWindow watched_;
    HonouredWatches watches_;
    mmu::DeviceContextTlb context_tlb_;
    mmu::ShadowTable processes_;
    bridge::Subscription ept_subscription_;
    bridge::Subscription table_subscription_;
    bridge::Subscription processes_subscription_;
    mmu::WindowSource source_;
    MappedRegion staging_ = make_region(2 * slot_pages);

    Mutex mutex_{LockRank::leaf};
    CondVar changed_;
    bool evicting_ GUARDED_BY(mutex_) = false;
    unsigned errors_ GUARDED_BY(mutex_) = 0;

    std::optional<vmm::Accelerator> device_;
    Thread evictor_;
    std::uint64_t entries_ = 0;
    std::uint64_t put_ = 0;
};

}  // namespace penumbra::test
