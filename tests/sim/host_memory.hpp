// The host's memory in a simulation: which pages are in the window, what each contains, the TLBs of vCPUs over it, and
// a host that now and then refuses. A page's content is one 64-bit stamp, kept in its first and last word; all between
// is zero.
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <string_view>
#include <vector>

#include "shadow-mmu/flush/window_port.hpp"
#include "vmm/memory/staging_memory.hpp"

namespace penumbra::test::sim {

using Stamp = std::uint64_t;

[[nodiscard]] Stamp stamp_at(const std::byte* page);
void put_stamp(std::byte* page, Stamp stamp);

/// One in so many calls, or never (0).
struct HostMoods {
    unsigned refuses_put_in = 0;
    unsigned keeps_page = 0;
};

class HostMemory final : public mmu::WindowPort, public vmm::StagingMemory {
public:
    using Fail = std::function<void(std::string_view)>;
    static constexpr std::size_t most_vcpus = 4;

    /// `window` need not be memory of this process; `staging` is.
    HostMemory(HvpRange window, std::uint64_t seed, HostMoods moods, Fail fail);
    void set_staging(HvpRange staging);
    void set_moods(HostMoods moods) { moods_ = moods; }

    [[nodiscard]] Result<> put_in(Hvp page, mmu::Content content) override;
    [[nodiscard]] std::size_t take_out(HvpRange run, Hvp staging) override;
    void drop(HvpRange run) override;
    void wake(HvpRange run) override;
    /// A simulation watches nothing.
    [[nodiscard]] Result<> protect(HvpRange) override { return fail("write-protect", "simulated memory"); }
    void unprotect(HvpRange) override {}
    void empty_slots(HvpRange slots) override;

    [[nodiscard]] bool present(Hvp page) const { return at(page).present; }
    [[nodiscard]] Stamp stamp(Hvp page) const { return at(page).stamp; }
    /// By whoever has the right to: a device through its entry, a vCPU.
    void write(Hvp page, Stamp stamp) { at(page).stamp = stamp; }
    [[nodiscard]] bool slot_full(Hvp slot) const { return slots_[slot - staging_.first()]; }
    /// A vCPU's access: by its TLB, or by a walk that fills it. False: it faults.
    [[nodiscard]] bool reaches(std::size_t vcpu, Hvp page);
    /// All that a page's state is, in one number.
    [[nodiscard]] std::uint64_t digest(Hvp page) const {
        return at(page).stamp << 8 | std::uint64_t{at(page).cached_by} << 1 | (at(page).present ? 1U : 0U);
    }
    [[nodiscard]] bool is_about(const void* object, Hvp page) const {
        return object >= &at(page) && object < &at(page) + 1;
    }
    /// What a sleeper on a fault waits for.
    [[nodiscard]] const void* wait_object(Hvp page) const { return &at(page); }

    struct Counts {
        std::uint64_t put_in = 0;
        std::uint64_t refused = 0;
        std::uint64_t taken = 0;
        std::uint64_t kept = 0;
        std::uint64_t dropped = 0;
    };
    [[nodiscard]] const Counts& counts() const { return counts_; }

private:
    struct Page {
        bool present = false;
        Stamp stamp = 0;
        std::uint32_t cached_by = 0;  // bit per vCPU
    };
    [[nodiscard]] Page& at(Hvp page) { return pages_[page - window_.first()]; }
    [[nodiscard]] const Page& at(Hvp page) const { return pages_[page - window_.first()]; }
    [[nodiscard]] bool one_in(unsigned rarity) { return rarity != 0 && random_() % rarity == 0; }
    void leave(Page& page);

    HvpRange window_;
    HvpRange staging_;
    HostMoods moods_;
    Fail fail_;
    std::minstd_rand random_;
    std::vector<Page> pages_;
    std::vector<bool> slots_;
    Counts counts_;
};

}  // namespace penumbra::test::sim
