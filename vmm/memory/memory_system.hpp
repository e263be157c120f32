// All of one VM's memory: window, tables, bridge, tiers, pager and their threads, put together in one place and taken
// down in one order.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "notifier-bridge/address_space.hpp"
#include "notifier-bridge/source/userfaultfd.hpp"
#include "shadow-mmu/fault/window_source.hpp"
#include "shadow-mmu/shadow/shadow_table.hpp"
#include "shadow-mmu/tables/device_table.hpp"
#include "shadow-mmu/tables/ept_table.hpp"
#include "shadow-mmu/tables/io_table.hpp"
#include "shadow-mmu/tables/watched_window.hpp"
#include "vmm/boot/address_layout.hpp"
#include "vmm/devices/guest_memory.hpp"
#include "vmm/memory/fault_workers.hpp"
#include "vmm/memory/guest_ram.hpp"
#include "vmm/memory/pager.hpp"
#include "vmm/memory/reclaim.hpp"
#include "vmm/memory/window.hpp"

namespace penumbra::vmm {

class DmaService;

struct MemoryOptions {
    std::uint64_t memory_bytes = 0;
    std::uint64_t budget_bytes = 0;
    bool compress = false;                     ///< a compressed tier
    Codec codec = Codec::lz4;                  ///< its
    std::string swap_path;                     ///< a file tier; empty: none
    std::string store_url;                     ///< a remote tier (RemoteUrl::parse); empty: none
    TakeOutMode take_out = TakeOutMode::move;  ///< falls back to copy where the kernel cannot move
    unsigned fault_workers = 4;                ///< beside the one that reads messages; at least 2
    FaultReading reading = FaultReading::follow;
    StalePolicy stale = StalePolicy::count;
    bool accelerator = false;                    ///< beside the EPT table a device table, and one for processes
    mmu::ShadowLimits processes;                 ///< the latter's
    bool dma = false;                            ///< an I/O table, and the service that brings its pages in
    std::function<void(const Error&)> on_error;  ///< a page cannot be supplied; any thread
    std::function<void(pid_t)> on_served;        ///< see FaultWorkersOptions
};

class MemorySystem final : public GuestMemory {
public:
    [[nodiscard]] static Result<std::unique_ptr<MemorySystem>> create(MemoryOptions options);
    ~MemorySystem() override;
    MemorySystem(const MemorySystem&) = delete;
    MemorySystem& operator=(const MemorySystem&) = delete;

    /// For device models and the loader, through the EPT table: never faults on the window.
    [[nodiscard]] Result<> read(Gpa from, std::span<std::byte> to) override;
    [[nodiscard]] Result<> write(Gpa to, std::span<const std::byte> from) override;

    /// Drops all content: every page reads zero afterwards. Nobody may be using the memory meanwhile.
    void discard_everything();
    /// Tries again after an error: parked faults happen again, devices' pages are brought in again.
    void retry();
    /// See FaultWorkers::is_waiting.
    [[nodiscard]] bool is_waiting(pid_t thread) const { return workers_->is_waiting(thread); }
    /// No page is supplied from now on; every wait inside ends. First step of taking down, before vCPUs are joined.
    /// Devices have let go of their pages: loops stopped, I/O in flight ended, clients cancelled or destroyed.
    void stop_paging();
    /// Wakes every thread that still sleeps on a fault: it finds zero pages. After stop_paging(); vCPUs must be on
    /// their way out.
    void abandon_window();

    /// Pages that could not leave the window for 100 ms or longer because a device's I/O holds them. Cheap.
    [[nodiscard]] std::uint64_t pages_under_long_io() const;

    /// One sweep over all pages: each that is in the window is taken out once. Returns pages that could not be taken.
    struct SweepResult {
        std::uint64_t taken = 0;
        std::uint64_t was_out = 0;
        std::uint64_t kept = 0;
    };
    [[nodiscard]] SweepResult evict_everything();
    /// Pages whose EPT entry and pagemap disagree. Meaningful only while nothing runs and nothing is being evicted.
    [[nodiscard]] Result<std::uint64_t> disagreements();

    // ---- what the accelerator writes, by guest-physical and by process addresses; one caller at a time ----
    /// See DeviceTable::begin_dirty_log and the others; there must be an accelerator.
    void begin_device_log();
    [[nodiscard]] mmu::DeviceTable::DirtyPages take_device_log(std::size_t most_ranges);
    void end_device_log();

    [[nodiscard]] const AddressLayout& layout() const { return layout_; }
    [[nodiscard]] HvpRange window_pages() const { return ram_.pages(); }
    [[nodiscard]] PagerState& state() { return *state_; }
    [[nodiscard]] Reclaimer& reclaimer() { return *reclaimer_; }
    [[nodiscard]] FaultWorkers& workers() { return *workers_; }
    [[nodiscard]] bridge::AddressSpace& space() { return space_; }
    [[nodiscard]] mmu::EptTable& ept() { return *ept_; }
    [[nodiscard]] mmu::DeviceTable* device_table() { return device_table_ ? &*device_table_ : nullptr; }
    /// Null without MemoryOptions::accelerator. What watches it ends writes to by FaultWorkersOptions::on_guest_write.
    [[nodiscard]] mmu::ShadowTable* shadow_table() { return shadow_table_ ? &*shadow_table_ : nullptr; }
    /// The TLB that shadow_table() flushes.
    [[nodiscard]] const mmu::DeviceContextTlb& context_tlb() const { return context_tlb_; }
    /// Null without MemoryOptions::dma, both.
    [[nodiscard]] mmu::IoTable* io_table() { return io_table_ ? &*io_table_ : nullptr; }
    [[nodiscard]] DmaService* dma() { return dma_.get(); }
    [[nodiscard]] mmu::WindowSource& window_source() { return *window_source_; }
    [[nodiscard]] TakeOutMode take_out() const { return window_->mode(); }

private:
    MemorySystem(AddressLayout layout, GuestRam ram, bridge::Userfaultfd uffd);

    [[nodiscard]] Result<> build(const MemoryOptions& options);
    [[nodiscard]] Result<> build_tables(const MemoryOptions& options);
    [[nodiscard]] Result<> build_workers(const MemoryOptions& options, unsigned pool_workers);
    void build_dma(const MemoryOptions& options);
    [[nodiscard]] bool in_use(Hvp page) const { return io_table_ && io_table_->in_use(page); }
    template <class Fn>
    [[nodiscard]] Result<> each_page(Gpa from, std::uint64_t bytes, mmu::FaultAccess access, Fn&& fn);

    // In order of construction; destroyed in reverse.
    AddressLayout layout_;
    GuestRam ram_;
    bridge::Userfaultfd uffd_;
    std::unique_ptr<PagerState> state_;
    std::optional<Window> window_;
    bridge::AddressSpace space_;
    std::optional<mmu::EptTable> ept_;
    mmu::DeviceTlb device_tlb_;
    std::optional<mmu::DeviceTable> device_table_;
    std::optional<mmu::WatchedWindow> watched_window_;
    mmu::DeviceContextTlb context_tlb_;
    std::optional<mmu::ShadowTable> shadow_table_;
    std::optional<mmu::IoTable> io_table_;
    std::vector<bridge::Subscription> subscriptions_;
    std::unique_ptr<Reclaimer> reclaimer_;
    std::unique_ptr<Pager> pager_;
    std::optional<mmu::WindowSource> window_source_;
    std::unique_ptr<FaultWorkers> workers_;
    std::unique_ptr<DmaService> dma_;
};

}  // namespace penumbra::vmm
