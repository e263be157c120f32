// Guest memory for device models as it is in production: a whole MemorySystem over a real userfaultfd, the I/O table
// and the service, and a thread that takes pages out. The test's threads play the guest.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/thread.hpp"
#include "vmm/devices/dma/dma_service.hpp"
#include "vmm/memory/memory_system.hpp"

namespace penumbra::test {

struct DmaMachineOptions {
    std::uint64_t memory_bytes = 64ULL << 20;
    std::uint64_t budget_bytes = 16ULL << 20;
    bool compress = true;   ///< an LZ4 tier
    std::string swap_path;  ///< a file tier; empty: none
    vmm::TakeOutMode take_out = vmm::TakeOutMode::move;
    vmm::StalePolicy stale = vmm::StalePolicy::fatal;
};

/// Devices (DmaLoop) are destroyed before it.
class DmaMachine {
public:
    explicit DmaMachine(const DmaMachineOptions& options = {});
    ~DmaMachine();
    DmaMachine(const DmaMachine&) = delete;
    DmaMachine& operator=(const DmaMachine&) = delete;

    [[nodiscard]] vmm::MemorySystem& memory() { return *memory_; }
    [[nodiscard]] vmm::DmaService& service() { return *memory_->dma(); }
    [[nodiscard]] mmu::IoTable& table() { return *memory_->io_table(); }
    [[nodiscard]] Hvp host(Gfn gfn) { return *table().memslots().to_host(gfn); }
    /// Errors that were told.
    [[nodiscard]] unsigned errors() const { return errors_.load(); }

    // ---- the guest, without faults on the window; any thread ----
    void write(Gpa to, std::span<const std::byte> from);
    void read(Gpa from, std::span<std::byte> to);
    /// Pages of the range that left.
    std::uint64_t evict(GfnRange range, bridge::Blockable blockable = bridge::Blockable::yes);
    /// Takes the pages of the range out as fast as it can, in runs of random length, until stop_evictor().
    void start_evictor(GfnRange range, std::uint64_t seed);
    void stop_evictor();

private:
    void evict_for_ever(GfnRange range, std::uint64_t seed);

    std::atomic<unsigned> errors_{0};
    std::unique_ptr<vmm::MemorySystem> memory_;
    std::atomic<bool> evicting_{false};
    Thread evictor_;
};

}  // namespace penumbra::test
