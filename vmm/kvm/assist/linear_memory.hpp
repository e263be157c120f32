// Guest memory by linear address, as a supervisor's instruction sees it: a walk of the guest's own page tables, read as
// hostile input (SDM volume 3, 4.5 and 4.6).
#pragma once

#include <cstdint>
#include <expected>
#include <span>

#include "base/address.hpp"
#include "vmm/devices/guest_memory.hpp"
#include "vmm/kvm/cpu_state.hpp"
#include "vmm/kvm/exit.hpp"

namespace penumbra::vmm {

/// Why an access did not come about.
struct LinearFault {
    enum class Kind : std::uint8_t {
        guest,  ///< the guest takes a page fault: `code` and CR2 = `address`
        host,   ///< not for us to finish: 32-bit paging, tables outside RAM, an accessed or dirty bit to be set
    };
    Kind kind = Kind::guest;
    Gva address;
    std::uint32_t code = 0;
};

/// For CPL 0 in long mode with 4- or 5-level paging. A page's accessed and dirty bits must be set already, as kernels
/// keep them in their own mappings: setting them takes an atomic access to the tables, which GuestMemory has not.
class LinearMemory {
public:
    LinearMemory(GuestMemory& memory, const SystemRegisters& system, std::uint64_t rflags)
        : memory_(memory), system_(system), rflags_(rflags) {}

    [[nodiscard]] std::expected<void, LinearFault> read(Gva from, std::span<std::byte> to);
    [[nodiscard]] std::expected<void, LinearFault> write(Gva to, std::span<const std::byte> from);

private:
    [[nodiscard]] std::expected<Gpa, LinearFault> translate(Gva at, Access access);
    template <class Fn>
    [[nodiscard]] std::expected<void, LinearFault> by_pages(Gva at, std::size_t bytes, Access access, Fn&& fn);

    GuestMemory& memory_;
    const SystemRegisters& system_;
    const std::uint64_t rflags_;
};

}  // namespace penumbra::vmm
