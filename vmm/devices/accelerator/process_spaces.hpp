// The guest's processes, by PASID, as contexts of the shadow table.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <vector>

#include "guest-images/common/machine_abi.hpp"
#include "shadow-mmu/shadow/shadow_table.hpp"

namespace penumbra::vmm {

/// What an entry of the PASID table says, or nothing where it makes no sense: not present, unknown or contradicting
/// flags, a root that is no page of RAM. The device walks as a processor with EFER.NXE and CR0.WP set and without SMEP,
/// SMAP and keys does, none of which a user's reads and writes depend on but for keys; as an IOMMU it has a width of
/// physical addresses of its own, which is the format's: 52 bits.
[[nodiscard]] std::optional<mmu::ContextOptions> checked_process(const abi::PasidEntry& entry,
                                                                 const mmu::Memslots& memslots);

/// Not thread-safe: the engine's thread, or whoever knows that it works on nothing. A command of more processes than
/// the table has contexts closes that of the process whose command is longest ago.
class ProcessSpaces {
public:
    ProcessSpaces(mmu::ShadowTable& table, const mmu::Memslots& memslots) : table_(table), memslots_(memslots) {}
    ProcessSpaces(const ProcessSpaces&) = delete;
    ProcessSpaces& operator=(const ProcessSpaces&) = delete;

    struct Process {
        mmu::ContextId context{};
        Level top = Level::top_4;
    };
    /// The process of a PASID whose entry was just read; bad_pasid where that makes no sense. On return nothing is in
    /// flight by what the entry said before.
    [[nodiscard]] std::expected<Process, abi::AccelResult> enter(std::uint32_t pasid, const abi::PasidEntry& entry);
    void close_all();

private:
    struct Space {
        std::uint32_t pasid = 0;
        std::uint64_t root = 0;  // the entry's word
        mmu::ContextId context{};
    };
    void close(std::uint32_t pasid);
    [[nodiscard]] mmu::ContextId open(const mmu::ContextOptions& options);

    mmu::ShadowTable& table_;
    const mmu::Memslots& memslots_;
    std::vector<Space> spaces_;  // used longest ago first
};

}  // namespace penumbra::vmm
