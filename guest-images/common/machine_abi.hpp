// What a freestanding guest and the VMM agree on: memory map, boot state, the guest port and the accelerator.
// Freestanding: no library beyond <cstdint>. Every field a guest writes is hostile input to the VMM.
#pragma once

#include <cstdint>

namespace penumbra::abi {

// ---- Memory map (guest-physical) -------------------------------------------------------------------------------
// RAM fills [0, 3 GiB) and goes on at 4 GiB; devices and the payload live in between.
inline constexpr std::uint64_t low_ram_limit = 0xC000'0000;
inline constexpr std::uint64_t high_ram_base = 0x1'0000'0000;
inline constexpr std::uint64_t guest_port_base = 0xD000'0000;   ///< one 4 KiB page of 64-bit registers
inline constexpr std::uint64_t accelerator_base = 0xD000'1000;  ///< one 4 KiB page of 64-bit registers
inline constexpr std::uint64_t payload_base = 0xE000'0000;      ///< read-only real data (host files), at most 256 MiB
inline constexpr std::uint64_t payload_limit = 0xF000'0000;

// ---- Boot state -------------------------------------------------------------------------------------------------
// The flat image is loaded at image_base and entered at its first byte, on every vCPU at once: 64-bit long mode, CPL 0,
// interrupts off, all memory above identity-mapped with 2 MiB pages (user-accessible, writable), SSE enabled,
// RDI = boot_info_base, RSI = vCPU number, RSP = top of a private 4 KiB stack. GDT, IDT and TSS are the image's job
// (the VMM's initial segments are flat: CS selector 0x08, data 0x10).
inline constexpr std::uint64_t boot_info_base = 0x1000;
inline constexpr std::uint64_t boot_tables_base = 0x2000;   ///< PML4, PDPTs and PDs, up to 0x40000
inline constexpr std::uint64_t boot_stacks_base = 0x40000;  ///< vCPU n: [base + n*4 KiB, +4 KiB)
inline constexpr std::uint64_t image_base = 0x10'0000;
inline constexpr unsigned max_vcpus = 64;

inline constexpr std::uint64_t boot_magic = 0x31415242'4D554E50;  // "PNUMBRA1"

enum class Ring : std::uint64_t { user = 3, kernel = 0 };
/// How the svm image's processes let the accelerator know of changes of their tables (PasidFlag).
enum class SvmMode : std::uint64_t { watch = 0, unsync = 1, cooperative = 2 };

struct BootInfo {
    std::uint64_t magic;
    std::uint64_t low_ram_bytes;   ///< bytes of RAM from 0
    std::uint64_t high_ram_bytes;  ///< bytes of RAM from high_ram_base
    std::uint64_t image_end;       ///< first byte after image, bss included; RAM below it is not for data
    std::uint64_t payload_pages;   ///< 4 KiB pages at payload_base
    std::uint64_t cpus;
    std::uint64_t tsc_khz;
    std::uint64_t has_accelerator;    ///< 0 or 1
    std::uint64_t seed;               ///< of every random choice the guest makes
    std::uint64_t ring;               ///< abi::Ring the workload runs in
    std::uint64_t passes;             ///< churn: how many whole sequences of orders; at least 1
    std::uint64_t rewrites_permille;  ///< churn: share of pages that a random-order phase touches, of all pages
    std::uint64_t svm_mode;           ///< svm: abi::SvmMode
    std::uint64_t svm_changes;        ///< svm: how many changes of tables to make
};

// ---- Guest port: 64-bit MMIO registers, offsets from guest_port_base ---------------------------------------------
enum class Port : std::uint64_t {
    // write: gpa of a Text block {u64 bytes (<= 4088, contained in one page); char data[]}: one line for the console
    console = 0x00,
    // write: ends the run; the value is the exit status (0: all was well). The vCPU is not entered again.
    exit = 0x08,
    // write: gpa of a Report block: the VMM reads it now
    report = 0x10,
    // read (touch image): gpa of the next page to touch with `touch_kind`, or `no_more` when the run is over
    next_touch = 0x18,
    // read (touch image): abi::TouchKind for the page that next_touch answered last, per vCPU
    touch_kind = 0x20,
    // write (touch image): TSC ticks that the last touch took
    touch_ticks = 0x28,
    // read: number of the reading vCPU (as RSI at entry)
    cpu_number = 0x30,
    // write: a fatal guest exception: value = vector; the VMM ends the run with an error
    trap = 0x38,
    // read: 1 once the host asks the guest to finish early (--time ran out, or a key); the guest then goes on to its
    // last
    // verification of every page, reports and exits
    finish_early = 0x40,
};
enum class TouchKind : std::uint64_t { read = 0, write = 1 };
inline constexpr std::uint64_t no_more = ~std::uint64_t{0};

/// Progress and results. Counters are totals over all vCPUs of the guest; 8-byte aligned, contained in one page.
struct Report {
    std::uint64_t pages_total;     ///< pages under test
    std::uint64_t pages_verified;  ///< page verifications that were right (a page counts each time)
    std::uint64_t mismatches;
    std::uint64_t passes;            ///< whole-memory verification passes completed
    std::uint64_t work_done;         ///< page visits so far, for the progress bar
    std::uint64_t work_total;        ///< page visits planned
    std::uint64_t accelerator_sums;  ///< CRC comparisons made against the accelerator
    std::uint64_t accelerator_mismatches;
    std::uint64_t first_bad_gpa;      ///< valid when mismatches > 0
    std::uint64_t min_verifications;  ///< the smallest number of times that any one page was verified
    struct Svm {                      ///< zero but from the svm image
        std::uint64_t changes;        ///< of tables and roots, each under the accelerator's work
        std::uint64_t in_use;         ///< of them, of an entry that the command in hand went through before and after
        std::uint64_t commands;       ///< of the accelerator, in processes' addresses
        std::uint64_t bytes;          ///< that these worked on
        std::uint64_t page_requests;  ///< answered
        std::uint64_t announcements;  ///< `invalidate` commands
        std::uint64_t empty;          ///< moments at which the ring was found empty
    } svm;
};

// ---- Accelerator: 64-bit MMIO registers, offsets from accelerator_base ------------------------------------------
enum class AccelRegister : std::uint64_t {
    ring_gpa = 0x00,      ///< page-aligned gpa of the command ring; written while disabled
    ring_entries = 0x08,  ///< power of two, 2..1024 (the ring may span pages)
    control = 0x10,       ///< write 1: enable (head = tail = 0), 0: stop after the commands in hand
    doorbell = 0x18,      ///< write: new tail: free-running count of commands submitted
    status = 0x20,        ///< read: AccelStatus bits
    head = 0x28,          ///< read: free-running count of commands completed, in order
    // Shared virtual memory; both gpas are written while disabled, and 0 is none.
    pasid_table_gpa = 0x30,    ///< page-aligned gpa of one page of PasidEntry
    request_queue_gpa = 0x38,  ///< page-aligned gpa of one page of AccelPageRequest
    /// write: answers the newest page request: its number * 2, + 1 if it cannot be served; also while disabled.
    /// read: the newest page request's number, 0 before the first
    request_response = 0x40,
};
enum class AccelStatus : std::uint64_t { enabled = 1, ring_error = 2 };

enum class AccelOpcode : std::uint32_t {
    nop = 0,
    copy = 1,
    fill = 2,
    crc32c = 3,
    /// Announces that entries which translate [source, source + bytes) of a PASID changed; 0 bytes: any of them. When
    /// it is done, no access through what they were is in flight, and none will be.
    invalidate = 4,
};
enum class AccelResult : std::uint32_t {
    pending = 0,
    done = 1,
    bad_command = 2,
    bad_address = 3,  ///< no RAM there, or no canonical address
    page_fault = 4,   ///< the process's tables do not permit the access; value: the address (else 0, but for a sum)
    bad_pasid = 5,    ///< no table, no such entry, or one that makes no sense
};

enum class AccelFlag : std::uint32_t {
    virtual_addresses = 1,  ///< source and target are addresses of the PASID's process, and user accesses
};

/// One ring slot. The device fetches it after the doorbell and writes `value`, then `result`, when the command is done.
struct AccelCommand {
    std::uint32_t opcode;  ///< AccelOpcode
    std::uint32_t result;  ///< AccelResult; the guest sets pending before the doorbell
    std::uint64_t source;  ///< gpa; fill: a 64-bit pattern
    std::uint64_t target;  ///< gpa; unused by crc32c
    std::uint64_t bytes;   ///< 1 .. 16 MiB (invalidate: from 0); need not be aligned
    std::uint64_t value;   ///< crc32c: the sum (iSCSI polynomial, start ~0, final complement), device-written
    std::uint32_t flags;   ///< AccelFlag bits; others are a bad command
    std::uint32_t pasid;   ///< with virtual_addresses, and of an invalidate: index into the PASID table
    std::uint64_t reserved[2];
};
static_assert(sizeof(AccelCommand) == 64);

inline constexpr std::uint32_t pasid_entries = 256;
/// One process's address space. The device reads the entry when a command that names it begins, and works by what it
/// read until that command is done: a root is switched by writing the entry, and no message is needed.
struct PasidEntry {
    std::uint64_t root;  ///< gpa of the PML4 or PML5 page, or'ed with PasidFlag bits; 0: no process
    std::uint64_t zero;
};
static_assert(sizeof(PasidEntry) * pasid_entries == 4096);
enum class PasidFlag : std::uint64_t {
    present = 1,
    five_levels = 2,
    announces = 4,       ///< the guest sends an invalidate before it relies on a change: the device may stop watching
    cooperative = 8,     ///< with announces: do not watch from the start
    unsync_leaves = 16,  ///< with announces: watch all tables but the lowest
};

/// The device asks for a page that a process's tables do not give it, and waits with the command in hand. It writes
/// entry number % entries of the queue, `number` (1, 2, ..., until a reset) last. Answered as served, the device looks
/// at the tables again, and may ask again; otherwise, or without a queue, the command ends with page_fault.
struct AccelPageRequest {
    std::uint64_t number;
    std::uint64_t address;  ///< the byte that was to be accessed
    std::uint32_t pasid;
    std::uint32_t error_code;  ///< as the processor's page-fault error code: bit 0 protection, 1 write, 2 user, 3 RSVD
    std::uint64_t reserved;
};
static_assert(sizeof(AccelPageRequest) == 32);
inline constexpr std::uint64_t page_request_entries = 4096 / sizeof(AccelPageRequest);

}  // namespace penumbra::abi
