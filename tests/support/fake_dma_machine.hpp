// Guest memory for device models without a kernel's help: fake window and pager, the real tables, bridge and service.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_set>
#include <vector>

#include "base/mutex.hpp"
#include "notifier-bridge/address_space.hpp"
#include "shadow-mmu/tables/ept_table.hpp"
#include "shadow-mmu/tables/io_table.hpp"
#include "tests/support/fake_window.hpp"
#include "vmm/devices/dma/dma_service.hpp"

namespace penumbra::test {

/// The fake pager, some of whose pages take until they are told not to.
class SlowPages final : public mmu::PageSource {
public:
    explicit SlowPages(FakePages& pages) : pages_(pages) {}

    [[nodiscard]] Result<mmu::ResolvedPage> resolve(Hvp page, mmu::FaultAccess access) override;
    [[nodiscard]] std::optional<mmu::Content> commit(Hvp page, mmu::ResolvedPage& resolved) override {
        return pages_.commit(page, resolved);
    }
    void conclude(Hvp page, mmu::ResolvedPage& resolved, mmu::Conclusion conclusion) override {
        pages_.conclude(page, resolved, conclusion);
    }

    void hold(Hvp page) EXCLUDES(mutex_);
    void let_go() EXCLUDES(mutex_);
    [[nodiscard]] bool is_held(Hvp page) const EXCLUDES(mutex_);
    /// Faults that wait for a held page now.
    [[nodiscard]] unsigned waiting() const EXCLUDES(mutex_);

private:
    FakePages& pages_;
    mutable Mutex mutex_{LockRank::leaf};
    CondVar changed_;
    std::unordered_set<Hvp> held_ GUARDED_BY(mutex_);
    unsigned waiting_ GUARDED_BY(mutex_) = 0;
};

class FakeDmaMachine {
public:
    // Two memory slots with a hole between them; in the window they lie in different 2 MiB regions.
    static constexpr std::uint64_t slot_pages = 64;
    static constexpr Gfn low_first{16};
    static constexpr Gfn high_first{0x10'0000};
    static constexpr Gfn hole{0x8'0000};

    /// `patience` of the table: by default a start freezes at once.
    explicit FakeDmaMachine(std::chrono::milliseconds patience = std::chrono::milliseconds{0});
    ~FakeDmaMachine();
    FakeDmaMachine(const FakeDmaMachine&) = delete;
    FakeDmaMachine& operator=(const FakeDmaMachine&) = delete;

    [[nodiscard]] vmm::DmaService& service() { return *service_; }
    [[nodiscard]] mmu::IoTable& table() { return table_; }
    [[nodiscard]] mmu::EptTable& ept() { return ept_; }
    [[nodiscard]] FakePages& pager() { return pager_; }
    [[nodiscard]] SlowPages& slow() { return slow_; }
    [[nodiscard]] FakeWindow& window() { return window_; }
    [[nodiscard]] bridge::AddressSpace& space() { return space_; }
    [[nodiscard]] Hvp host(Gfn gfn) const { return *table_.memslots().to_host(gfn); }
    /// Errors that were told.
    [[nodiscard]] unsigned errors() const { return errors_.load(); }

    // ---- the guest: the test's thread ----
    void write(Gpa to, std::span<const std::byte> from);
    void read(Gpa from, std::span<std::byte> to);
    /// Pages that left; nullopt: would_block.
    std::optional<std::uint64_t> evict(GfnRange range, bridge::Blockable blockable = bridge::Blockable::yes);
    void evict_all();

private:
    [[nodiscard]] static mmu::Memslots make_slots(const FakeWindow& window);

    FakeWindow window_{2048};
    FakePages pager_{window_.pages()};
    SlowPages slow_{pager_};
    mmu::EptTable ept_;
    mmu::IoTable table_;
    bridge::AddressSpace space_;
    bridge::Subscription ept_subscription_;
    bridge::Subscription table_subscription_;
    std::atomic<unsigned> errors_{0};
    std::optional<vmm::DmaService> service_;
};

}  // namespace penumbra::test
