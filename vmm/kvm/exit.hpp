// Why a vCPU came out of the guest: a closed set of kinds.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <variant>

#include "base/address.hpp"

namespace penumbra::vmm {

enum class Access : std::uint8_t { read, write };

/// The guest touched an address that no memory slot holds. For a read the handler fills `data`; the guest sees it on
/// the next run(). `data` is 1..8 bytes of the vCPU's run area, little-endian, valid until the next run().
struct MmioExit {
    Gpa gpa;
    Access access;
    std::span<std::byte> data;
};

/// `in`/`out` and their string forms: `data` holds `count` items of `size` (1, 2 or 4) bytes; as for MmioExit, a read
/// is answered by filling it.
struct PortExit {
    std::uint16_t port;
    std::uint8_t size;
    std::uint32_t count;
    Access access;
    std::span<std::byte> data;
};

struct HaltExit {};         ///< the guest executed hlt
struct ShutdownExit {};     ///< triple fault: the guest's exception handling broke down
struct InterruptedExit {};  ///< request_exit(), or any other signal, ended the run

/// KVM could not go on by itself; for instructions it cannot interpret, `instruction` starts at the guest's RIP.
struct InternalErrorExit {
    static constexpr std::uint32_t emulation = 1;  ///< `suberror` of an instruction that KVM cannot interpret
    std::uint32_t suberror;
    std::array<std::byte, 15> instruction;
    std::uint8_t instruction_bytes;  ///< how many of them are valid; 0 where KVM gave none
};

/// The host memory behind a guest page could not be reached. Not every KVM says which page.
struct MemoryFaultExit {
    std::optional<Gpa> gpa;
};

/// The processor refused the guest state, or KVM gave a reason this VMM has no use for.
struct UnexpectedExit {
    std::uint32_t reason;    ///< KVM's exit reason
    std::uint64_t hardware;  ///< the processor's own reason, or 0
};

using Exit = std::variant<MmioExit, PortExit, HaltExit, ShutdownExit, InterruptedExit, InternalErrorExit,
                          MemoryFaultExit, UnexpectedExit>;

}  // namespace penumbra::vmm
