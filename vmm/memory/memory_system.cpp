#include "vmm/memory/memory_system.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "notifier-bridge/source/memory_ops.hpp"
#include "shadow-mmu/fault/fault_handler.hpp"
#include "vmm/devices/dma/dma_service.hpp"

namespace penumbra::vmm {

namespace {

/// Each VM of this process gets a number of its own, part of every stored page's identity.
std::uint64_t next_vm_id() {
    static std::atomic<std::uint64_t> next{1};
    return next.fetch_add(1, std::memory_order_relaxed);
}

mmu::Memslots memslots_of(const AddressLayout& layout, Hvp window) {
    std::vector<mmu::Memslot> slots;
    for (const RamPart& part : layout.parts()) slots.push_back({part.guest, window + part.window_page});
    return mmu::Memslots{std::move(slots)};
}

std::uint32_t limbo_slots(std::uint64_t budget_bytes) {
    const std::uint64_t pages = budget_bytes >> page_shift;
    return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(pages / 8, 512, 1U << 18));
}

}  // namespace

Result<std::unique_ptr<MemorySystem>> MemorySystem::create(MemoryOptions options) {
    PENUMBRA_TRY_ASSIGN(AddressLayout layout, AddressLayout::create(options.memory_bytes));
    PENUMBRA_TRY_ASSIGN(GuestRam ram, GuestRam::create(options.memory_bytes));
    PENUMBRA_TRY_ASSIGN(bridge::Userfaultfd uffd,
                        bridge::Userfaultfd::open(static_cast<std::uint64_t>(bridge::UffdFeature::move)));
    std::unique_ptr<MemorySystem> system(new MemorySystem(std::move(layout), std::move(ram), std::move(uffd)));
    PENUMBRA_TRY(system->build(options));
    return system;
}

MemorySystem::MemorySystem(AddressLayout layout, GuestRam ram, bridge::Userfaultfd uffd)
    : layout_(std::move(layout)), ram_(std::move(ram)), uffd_(std::move(uffd)) {}

Result<> MemorySystem::build(const MemoryOptions& options) {
    PENUMBRA_TRY_ASSIGN(PageStates words, PageStates::create(layout_.pages()));
    PENUMBRA_TRY_ASSIGN(std::unique_ptr<Limbo> limbo, Limbo::create(limbo_slots(options.budget_bytes)));
    std::optional<CompressedTier> compressed;
    if (options.compress) {
        PENUMBRA_TRY_ASSIGN(CompressedTier tier, CompressedTier::create(options.budget_bytes, options.codec));
        compressed.emplace(std::move(tier));
    }
    std::unique_ptr<FileTier> file;
    if (!options.swap_path.empty()) {
        PENUMBRA_TRY_ASSIGN(file, FileTier::create({options.swap_path, options.memory_bytes * 2, IoMode::io_uring}));
    }
    std::unique_ptr<RemoteTier> remote;
    if (!options.store_url.empty()) {
        RemoteTierOptions store;
        store.url = options.store_url;
        store.capacity_bytes = options.memory_bytes * 2;
        // Other users may read a command line.
        if (const char* password = std::getenv("PENUMBRA_STORE_PASSWORD")) store.password = password;
        PENUMBRA_TRY_ASSIGN(remote, RemoteTier::create(store));
    }
    state_ = std::make_unique<PagerState>(ram_.pages(), next_vm_id(), std::move(words), std::move(limbo),
                                          std::move(compressed), SlowTiers(std::move(file), std::move(remote)),
                                          options.budget_bytes);
    const TakeOutMode mode = uffd_.has(bridge::UffdFeature::move) ? options.take_out : TakeOutMode::copy;
    PENUMBRA_TRY_ASSIGN(Window window, Window::create(uffd_, ram_.pages(), state_->limbo->staging(), mode));
    window_.emplace(std::move(window));
    PENUMBRA_TRY(build_tables(options));

    const unsigned pool_workers = std::max(2U, options.fault_workers);
    constexpr unsigned page_request_workers = 2;
    const unsigned dma_workers = options.dma ? DmaServiceOptions{}.workers : 0;
    reclaimer_ = std::make_unique<Reclaimer>(
        *state_, space_, *window_, [this](Hvp page) { return in_use(page); },
        ReclaimLimits::of_budget(options.budget_bytes, state_->limbo->slots()));
    PENUMBRA_TRY_ASSIGN(pager_, Pager::create(*state_, *reclaimer_, pool_workers + page_request_workers + dma_workers));
    window_source_.emplace(*ept_, *pager_);
    PENUMBRA_TRY(build_workers(options, pool_workers));
    if (options.dma) build_dma(options);
    return {};
}

Result<> MemorySystem::build_workers(const MemoryOptions& options, unsigned pool_workers) {
    PENUMBRA_TRY_ASSIGN(Pagemap pagemap, Pagemap::open());
    FaultWorkersOptions workers;
    workers.pool = pool_workers;
    PENUMBRA_TRY_ASSIGN(workers.doorbell, MappedRegion::anonymous(page_bytes));
    PENUMBRA_TRY(uffd_.register_range(workers.doorbell.pages(), bridge::RegisterMode::missing));
    PENUMBRA_TRY(uffd_.set_reads(bridge::Userfaultfd::Reads::blocking));
    workers.reading = options.reading;
    workers.stale = options.stale;
    workers.on_error = options.on_error;
    workers.on_served = options.on_served;
    if (shadow_table_) workers.on_guest_write = [this](Gfn gfn) { shadow_table_->written(gfn); };
    workers.device_stale = device_table_ ? &device_table_->counters().stale_faults : nullptr;
    workers.io_stale = io_table_ ? &io_table_->counters().stale_faults : nullptr;
    workers_ = std::make_unique<FaultWorkers>(uffd_, *ept_, *pager_, *state_, std::move(pagemap), std::move(workers));
    return {};
}

void MemorySystem::build_dma(const MemoryOptions& options) {
    DmaServiceOptions dma;
    dma.is_slow = [this](Hvp page) {
        if (ept_->present(*ept_->memslots().to_guest(page))) return false;
        return pager_->is_slow(page) || !state_->budget.has_room();
    };
    dma.on_error = [this, on_error = options.on_error](const Error& error) {
        if (on_error && !state_->stopping.load(std::memory_order_acquire)) on_error(error);
    };
    dma_ = std::make_unique<DmaService>(*io_table_, *ept_, *pager_, std::move(dma));
}

Result<> MemorySystem::build_tables(const MemoryOptions& options) {
    const mmu::Memslots slots = memslots_of(layout_, ram_.pages().first());
    const std::uint64_t nodes = mmu::NodeArena::nodes_for(layout_.pages()) * slots.slots().size();
    PENUMBRA_TRY_ASSIGN(mmu::NodeArena ept_nodes, mmu::NodeArena::create(nodes));
    ept_.emplace(slots, std::move(ept_nodes), *window_);
    subscriptions_.push_back(space_.subscribe(*ept_));
    if (options.accelerator) {
        PENUMBRA_TRY_ASSIGN(mmu::NodeArena device_nodes, mmu::NodeArena::create(nodes));
        device_table_.emplace("accelerator", slots, std::move(device_nodes), device_tlb_);
        subscriptions_.push_back(space_.subscribe(*device_table_));
        watched_window_.emplace(*ept_, *window_, [this](Hvp page) { return in_use(page); });
        shadow_table_.emplace("svm", slots, mmu::ShadowPorts{*watched_window_, *watched_window_, context_tlb_},
                              options.processes);
        subscriptions_.push_back(space_.subscribe(*shadow_table_));
    }
    if (options.dma) {
        PENUMBRA_TRY_ASSIGN(mmu::NodeArena io_nodes, mmu::NodeArena::create(nodes));
        PENUMBRA_TRY_ASSIGN(mmu::AccessCounts counts, mmu::AccessCounts::create(slots.pages()));
        io_table_.emplace("io", slots, std::move(io_nodes), std::move(counts));
        subscriptions_.push_back(space_.subscribe(*io_table_));
    }
    return {};
}

MemorySystem::~MemorySystem() {
    if (state_) stop_paging();
    space_.release();
}

void MemorySystem::stop_paging() {
    state_->stopping.store(true, std::memory_order_seq_cst);
    // First: an invalidation, and with it the reclaimer, may be waiting for a page that was granted and not looked at.
    if (dma_) dma_->stop();
    if (workers_) workers_->stop();
    // Nobody hears of writes now. Who writes for the VMM holds the page, and the reclaimer may be waiting for that.
    if (watched_window_) watched_window_->stop();
    if (reclaimer_) reclaimer_->stop();
}

void MemorySystem::abandon_window() {
    PENUMBRA_ASSERT(state_->stopping.load(std::memory_order_acquire),
                    "the window was abandoned while pages were supplied");
    space_.release();
    window_->abandon();
}

template <class Fn>
Result<> MemorySystem::each_page(Gpa from, std::uint64_t bytes, mmu::FaultAccess access, Fn&& fn) {
    std::uint64_t done = 0;
    while (done < bytes) {
        if (from.value() > ~std::uint64_t{0} - done)
            return fail("reach guest memory", "past the end of the address space");
        const Gpa at = from + done;
        const std::uint64_t piece = std::min(bytes - done, page_bytes - page_offset(at));
        auto held = ept_->access(frame_of(at));
        if (!held) {
            PENUMBRA_TRY_ASSIGN(const mmu::FaultOutcome outcome,
                                mmu::handle_fault(*ept_, *pager_, frame_of(at), access));
            if (outcome == mmu::FaultOutcome::emulate) return fail("reach guest memory", "an address that is not RAM");
            if (outcome == mmu::FaultOutcome::denied || outcome == mmu::FaultOutcome::out_of_memory) {
                return fail("reach guest memory", std::string(name_of(outcome)));
            }
            continue;  // it may have been taken out again already
        }
        fn(pointer_to(held->page) + page_offset(at), done, piece);
        done += piece;
    }
    return {};
}

Result<> MemorySystem::read(Gpa from, std::span<std::byte> to) {
    return each_page(from, to.size(), mmu::FaultAccess::read,
                     [&](const std::byte* memory, std::uint64_t done, std::uint64_t n) {
                         std::memcpy(to.data() + done, memory, n);
                     });
}

Result<> MemorySystem::write(Gpa to, std::span<const std::byte> from) {
    return each_page(
        to, from.size(), mmu::FaultAccess::write,
        [&](std::byte* memory, std::uint64_t done, std::uint64_t n) { std::memcpy(memory, from.data() + done, n); });
}

void MemorySystem::discard_everything() {
    constexpr std::uint64_t batch = 4096;
    const HvpRange all = ram_.pages();
    for (std::uint64_t at = 0; at < all.pages(); at += batch) {
        const HvpRange some{all.first() + at, std::min(batch, all.pages() - at)};
        bridge::discard(space_, bridge::RangeSet{some}, [&] {
            for (Hvp page = some.first(); page < some.end(); ++page) state_->forget(state_->index_of(page));
        });
    }
}

void MemorySystem::retry() {
    reclaimer_->retry();
    workers_->resume();
    if (dma_) dma_->resume();
}

std::uint64_t MemorySystem::pages_under_long_io() const {
    constexpr std::chrono::milliseconds long_time{100};
    return io_table_ ? io_table_->pages_held_longer_than(long_time) : 0;
}

MemorySystem::SweepResult MemorySystem::evict_everything() {
    SweepResult result;
    constexpr std::uint64_t batch = 64;
    const HvpRange all = ram_.pages();
    for (std::uint64_t at = 0; at < all.pages() && !state_->stopping.load(std::memory_order_acquire);) {
        const std::uint64_t end = std::min(at + batch, all.pages());
        std::vector<Hvp> pages;
        for (Hvp page = all.first() + at; page < all.first() + end; ++page) {
            if (in_use(page)) {
                ++result.kept;  // waiting for a device's I/O could take long
            } else {
                pages.push_back(page);
            }
        }
        const Reclaimer::Evicted evicted = reclaimer_->evict_pages(pages, bridge::Blockable::yes);
        result.taken += evicted.taken;
        result.kept += evicted.kept;
        result.was_out += evicted.reached - evicted.taken - evicted.kept;
        at = evicted.reached < pages.size() ? pages[evicted.reached] - all.first() : end;
        if (evicted.reached < pages.size() && !reclaimer_->wait_for_slots(batch * 4)) break;
    }
    return result;
}

Result<std::uint64_t> MemorySystem::disagreements() {
    PENUMBRA_TRY_ASSIGN(const Pagemap pagemap, Pagemap::open());
    PENUMBRA_TRY_ASSIGN(const std::vector<bool> kernel, pagemap.present(ram_.pages()));
    std::uint64_t different = 0;
    for (std::uint64_t i = 0; i < kernel.size(); ++i) {
        if (kernel[i] != ept_->present(layout_.gfn_of(i))) ++different;
    }
    return different;
}

}  // namespace penumbra::vmm
