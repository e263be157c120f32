// What the walk_sweep image and its host agree on: places in guest-physical memory, a case, its result. Freestanding.
#pragma once

#include <cstddef>
#include <cstdint>

namespace penumbra::abi::walk_sweep {

// ---- Guest-physical memory: RAM must reach 128 MiB -----------------------------------------------------------------
inline constexpr std::uint64_t ram_bytes = 128ULL << 20;
inline constexpr std::uint64_t root_table = 0x0140'0000;  ///< of the top level; cases' lower tables have fixed places:
inline constexpr std::uint64_t table_4 = root_table + 0x1000;  ///< with 5 levels
inline constexpr std::uint64_t table_3 = root_table + 0x2000;
inline constexpr std::uint64_t table_2 = root_table + 0x3000;
inline constexpr std::uint64_t table_1 = root_table + 0x4000;
inline constexpr std::uint64_t user_code = 0x0141'0000;
inline constexpr std::uint64_t user_stack = 0x0141'1000;
inline constexpr std::uint64_t own_tables = 0x0142'0000;  ///< of the image's own map
inline constexpr std::uint64_t control_block = 0x0180'0000;
inline constexpr std::uint64_t target_page = 0x0200'0000;  ///< what a case's leaf leads to; holds target_word
inline constexpr std::uint64_t target_word = 0xC3;         ///< `ret`: a fetch comes back at once
inline constexpr std::uint64_t cases_base = 0x0400'0000;
inline constexpr std::uint64_t results_base = 0x0600'0000;
inline constexpr std::uint64_t most_cases = (results_base - cases_base) / 64;

// ---- Ports: no device is needed to run the image -------------------------------------------------------------------
inline constexpr std::uint16_t serial_port = 0x3F8;  ///< text
inline constexpr std::uint16_t exit_port = 0xF4;     ///< 32 bits: 0 the cases have run, 1 the image could not

inline constexpr std::uint64_t control_magic = 0x31504557'534B4C57;  // "WLKSWEP1"

struct Control {
    std::uint64_t magic;   ///< host
    std::uint64_t levels;  ///< host: 4 or 5, as the image was entered
    std::uint64_t cases;   ///< host: how many; 0 to be told the features only
    std::uint64_t done;    ///< guest: how many have run
    std::uint64_t features;
    std::uint64_t physical_bits;  ///< guest: MAXPHYADDR
    char vendor[16];              ///< guest: CPUID's
};

/// Bits of Control::features: what CPUID promises and CR4 accepts.
enum class Feature : std::uint64_t { smep = 1, smap = 2, user_keys = 4, supervisor_keys = 8, gigabyte_pages = 16 };

/// Bits of Case::flags.
enum class CaseFlag : std::uint32_t {
    user = 1,   ///< in ring 3, else ring 0
    write = 2,  ///< neither: a read
    fetch = 4,
    read_first = 8,    ///< ring 0 reads before, and may fault
    access_user = 16,  ///< RFLAGS.AC, in ring 0
    write_protect = 32,
    no_execute = 64,
    smep = 128,
    smap = 256,
    user_keys = 512,
    supervisor_keys = 1024,
};

struct Case {
    std::uint64_t entries[5];  ///< from the top level down, written to the tables above
    std::uint64_t address;
    std::uint32_t flags;
    std::uint32_t user_key_rights;
    std::uint32_t supervisor_key_rights;
    std::uint32_t reserved;
};
static_assert(sizeof(Case) == 64);

inline constexpr std::uint32_t no_exception = 256;

struct CaseResult {
    std::uint64_t entries[5];     ///< as the access left them
    std::uint64_t fault_address;  ///< CR2, where a page fault came
    std::uint64_t instruction;    ///< where an exception came
    std::uint32_t vector;         ///< or no_exception
    std::uint32_t error_code;
};
static_assert(sizeof(CaseResult) == 64);

}  // namespace penumbra::abi::walk_sweep
