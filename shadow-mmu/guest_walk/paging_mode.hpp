// What a processor brings to a page walk besides the tables: its mode and the access. Values only.
#pragma once

#include <cstdint>

#include "base/page_size.hpp"

namespace penumbra::mmu {

/// Bit 8 of a PML4 or PML5 entry, where a leaf has its global bit: Intel ignores it, AMD wants it zero (APM volume 2,
/// 5.3.3).
enum class UpperGlobalBit : std::uint8_t { ignored, reserved };

/// 4- or 5-level paging (SDM volume 3, 4.5). Defaults are those of a processor that an operating system has set up.
struct PagingMode {
    Level top = Level::top_4;         ///< top_5 where CR4.LA57 is set
    bool write_protect = true;        ///< CR0.WP
    bool no_execute = true;           ///< EFER.NXE
    bool global_pages = true;         ///< CR4.PGE
    bool smep = false;                ///< CR4.SMEP
    bool smap = false;                ///< CR4.SMAP
    bool access_user = false;         ///< RFLAGS.AC, which lifts SMAP for explicit accesses
    bool user_keys = false;           ///< CR4.PKE
    bool supervisor_keys = false;     ///< CR4.PKS
    bool gigabyte_pages = true;       ///< CPUID.80000001H:EDX[26]
    std::uint8_t physical_bits = 52;  ///< MAXPHYADDR, 32 to 52
    UpperGlobalBit upper_global = UpperGlobalBit::ignored;
    std::uint32_t user_key_rights = 0;        ///< PKRU
    std::uint32_t supervisor_key_rights = 0;  ///< IA32_PKRS
};

enum class AccessKind : std::uint8_t { read, write, execute };

/// Implicit accesses are the processor's own, to descriptor tables and task states: supervisor's at any CPL, and SMAP
/// denies them whatever RFLAGS.AC says.
enum class Privilege : std::uint8_t { user, supervisor, implicit_supervisor };

struct GuestAccess {
    AccessKind kind = AccessKind::read;
    Privilege privilege = Privilege::user;
};

}  // namespace penumbra::mmu
