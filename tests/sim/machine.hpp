// Window, pager, bridge and both tables, small, with a modelled vCPU TLB over the window; the same for simulation and
// stress.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <optional>
#include <vector>

#include "notifier-bridge/source/scripted_source.hpp"
#include "shadow-mmu/fault/window_source.hpp"
#include "shadow-mmu/flush/modelled_tlb.hpp"
#include "shadow-mmu/tables/device_table.hpp"
#include "tests/support/fake_window.hpp"

namespace penumbra::test {

/// The seed to replay, from the environment's PENUMBRA_SEED.
[[nodiscard]] inline std::optional<std::uint64_t> wanted_seed() {
    const char* text = std::getenv("PENUMBRA_SEED");
    if (text == nullptr || *text == '\0') return std::nullopt;
    return std::strtoull(text, nullptr, 10);
}

/// As the kernel does it: what leaves the window leaves the vCPUs' TLBs.
class TlbWindow final : public mmu::WindowPort {
public:
    TlbWindow(FakeWindow& window, const mmu::Memslots& memslots, mmu::ModelledTlb& tlb)
        : window_(window), memslots_(memslots), tlb_(tlb) {}

    [[nodiscard]] Result<> put_in(Hvp page, mmu::Content content) override { return window_.put_in(page, content); }
    [[nodiscard]] std::size_t take_out(HvpRange run, Hvp staging) override {
        flush(run);
        return window_.take_out(run, staging);
    }
    void drop(HvpRange run) override {
        flush(run);
        window_.drop(run);
    }
    void wake(HvpRange run) override { window_.wake(run); }
    [[nodiscard]] Result<> protect(HvpRange run) override { return window_.protect(run); }
    void unprotect(HvpRange run) override { window_.unprotect(run); }

private:
    void flush(HvpRange run) {
        std::vector<GfnRange> guest;
        memslots_.for_each_guest_range(run, [&](GfnRange range) { guest.push_back(range); });
        tlb_.flush(guest);
    }
    FakeWindow& window_;
    const mmu::Memslots memslots_;
    mmu::ModelledTlb& tlb_;
};

/// Two slots of guest memory; the second straddles two of the sequence's 2 MiB regions. Where they lie relative to
/// regions does not depend on where the host put the window, so that a seed always does the same.
struct SimMachine {
    static constexpr std::uint64_t slot_pages = 24;
    static constexpr std::uint64_t pages = 2 * slot_pages;
    static constexpr std::uint64_t region_pages = 512;
    static constexpr std::uint64_t window_pages = 2 * region_pages + slot_pages;
    static constexpr Gfn low{16};
    static constexpr Gfn high{0x10'0000};

    [[nodiscard]] static mmu::Memslots slots_in(const FakeWindow& window) {
        const std::uint64_t first = window.pages().first().value();
        const Hvp aligned{(first + region_pages - 1) / region_pages * region_pages};
        return mmu::Memslots({{GfnRange{low, slot_pages}, aligned},
                              {GfnRange{high, slot_pages}, aligned + (region_pages - slot_pages / 2)}});
    }
    [[nodiscard]] static mmu::NodeArena arena() {
        Result<mmu::NodeArena> made = mmu::NodeArena::create(16);
        PENUMBRA_ASSERT(made.has_value(), "no memory for a test");
        return std::move(*made);
    }
    /// Pages of guest memory by number, over both slots.
    [[nodiscard]] static Gfn gfn(std::uint64_t page) {
        return page < slot_pages ? low + page : high + (page - slot_pages);
    }
    [[nodiscard]] Hvp host(std::uint64_t page) const {
        const mmu::Memslot& slot = ept.memslots().slots()[page / slot_pages];
        return slot.host + page % slot_pages;
    }

    FakeWindow window{window_pages};
    FakePages pager{window.pages()};
    mmu::ModelledTlb vcpu_tlb;
    mmu::DeviceTlb device_tlb;
    TlbWindow port{window, slots_in(window), vcpu_tlb};
    mmu::EptTable ept{slots_in(window), arena(), port};
    mmu::DeviceTable device{"device", slots_in(window), arena(), device_tlb};
    bridge::AddressSpace space;
    bridge::Subscription ept_subscription = space.subscribe(ept);
    bridge::Subscription device_subscription = space.subscribe(device);
};

}  // namespace penumbra::test
