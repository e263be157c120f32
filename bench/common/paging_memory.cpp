#include "bench/common/paging_memory.hpp"

#include <fmt/core.h>
#include <sys/resource.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/mapped_region.hpp"
#include "bench/common/payload_pages.hpp"
#include "vmm/memory/memory_system.hpp"

namespace penumbra::bench {

namespace {

class KernelMemory final : public PagingMemory, private vmm::GuestMemory {
public:
    KernelMemory(vmm::AddressLayout layout, MappedRegion region)
        : layout_(std::move(layout)), region_(std::move(region)) {}

    [[nodiscard]] vmm::GuestMemory& guest_memory() override { return *this; }
    [[nodiscard]] const vmm::AddressLayout& layout() const override { return layout_; }
    [[nodiscard]] HvpRange window() const override { return region_.pages(); }
    [[nodiscard]] PagingCounts counts() const override {
        rusage usage{};
        (void)::getrusage(RUSAGE_SELF, &usage);
        PagingCounts counts;
        counts.faults = static_cast<std::uint64_t>(usage.ru_minflt) + static_cast<std::uint64_t>(usage.ru_majflt);
        return counts;
    }

private:
    [[nodiscard]] Result<> read(Gpa from, std::span<std::byte> to) override {
        PENUMBRA_TRY_ASSIGN(std::byte* const place, at(from, to.size()));
        std::memcpy(to.data(), place, to.size());
        return {};
    }
    [[nodiscard]] Result<> write(Gpa to, std::span<const std::byte> from) override {
        PENUMBRA_TRY_ASSIGN(std::byte* const place, at(to, from.size()));
        std::memcpy(place, from.data(), from.size());
        return {};
    }
    /// All RAM is below the devices.
    [[nodiscard]] Result<std::byte*> at(Gpa first, std::size_t bytes) const {
        if (first.value() > region_.size() || bytes > region_.size() - first.value()) {
            return fail("find in the guest's RAM", "an address");
        }
        return region_.data() + first.value();
    }

    const vmm::AddressLayout layout_;
    const MappedRegion region_;
};

class PenumbraMemory final : public PagingMemory {
public:
    explicit PenumbraMemory(std::unique_ptr<vmm::MemorySystem> system) : system_(std::move(system)) {}

    [[nodiscard]] vmm::GuestMemory& guest_memory() override { return *system_; }
    [[nodiscard]] const vmm::AddressLayout& layout() const override { return system_->layout(); }
    [[nodiscard]] HvpRange window() const override { return system_->window_pages(); }
    [[nodiscard]] PagingCounts counts() const override {
        const vmm::PagerStats& stats = system_->state().stats;
        const std::uint64_t prefetched = stats.prefetched.get();
        const std::uint64_t supplied = stats.faults.get();
        return {supplied - prefetched, stats.swapped_in.get(), stats.rescued.get(), prefetched};
    }
    [[nodiscard]] PagingPlaces places() const override {
        const vmm::PagerState& state = system_->state();
        return {state.budget.pages(), state.compressed->charged_bytes()};
    }

private:
    const std::unique_ptr<vmm::MemorySystem> system_;
};

}  // namespace

Result<> PagingMemory::fill() {
    Result<> outcome;
    std::uint32_t page = 0;
    std::array<std::byte, page_bytes> stamped;
    LibraryReader reader;
    PENUMBRA_TRY(reader.read([&](PageView bytes) {
        const std::uint64_t stamp = abi::touch_stamp(page, 0);
        std::memcpy(stamped.data(), bytes.data(), page_bytes);
        std::memcpy(stamped.data(), &stamp, sizeof stamp);
        outcome = guest_memory().write(paging_first + page * page_bytes, stamped);
        return outcome.has_value() && ++page < paging_pages;
    }));
    return outcome;
}

Result<std::unique_ptr<PagingMemory>> kernel_memory() {
    PENUMBRA_TRY_ASSIGN(vmm::AddressLayout layout, vmm::AddressLayout::create(paging_ram_bytes));
    PENUMBRA_TRY_ASSIGN(MappedRegion region, MappedRegion::anonymous(paging_ram_bytes));
    return std::make_unique<KernelMemory>(std::move(layout), std::move(region));
}

Result<std::unique_ptr<PagingMemory>> penumbra_memory(std::uint64_t budget_bytes, vmm::FaultReading reading) {
    vmm::MemoryOptions options;
    options.memory_bytes = paging_ram_bytes;
    options.budget_bytes = budget_bytes;
    options.compress = true;
    options.reading = reading;
    options.on_error = [](const Error& error) { fmt::print(stderr, "{}\n", error.message()); };
    options.on_served = [](pid_t) {};
    PENUMBRA_TRY_ASSIGN(auto system, vmm::MemorySystem::create(std::move(options)));
    return std::make_unique<PenumbraMemory>(std::move(system));
}

}  // namespace penumbra::bench
