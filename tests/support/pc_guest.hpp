// A guest for the Linux platform that is no Linux: a page of hand-written 64-bit code that starts in milliseconds, runs
// on a KVM that interprets ring 0, and does one thing for every letter it is told.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace penumbra::test {

/// Commands are letters: first those of the kernel's command line, then what COM1 receives. Whatever is no command is
/// passed over. Its console says "ready" when it begins.
///   e  echoes COM1 until it hears 4 (Ctrl-D)       s  the same, slowly, one byte at a time
///   u  prints dots until COM1 hears something      b  waits for the power button, then says "button"
///   t  says "state" and `state_words` values, of a word of memory and of hardware registers, as it found them when it
///      began or at the last g
///   g  looks at all of these again                 d  changes all of these
///   c  sends INIT and SIPI to all other CPUs
///   n  says "cpus" and how many others came up     i  CPUs that come up from now on wait for interrupts (see h)
///   h  waits for interrupts for ever. Every CPU stores {vector, APIC id << 32} at `told_at` when one arrives, and
///      `waits` for a vector before the first
///   p  routes IOAPIC pin 4 to vector 0x44 of APIC 1 by edge, pin 5 to vector 0x45 of APIC 0 by level
///   w  writes 1 (16 bits) at `doorbell_at`, then says "rung"
///   o  turns the machine off by ACPI               r, k, f  reset: keyboard controller, port 0xCF9, triple fault
namespace pc_guest {

inline constexpr std::uint64_t base = 0x10'0000;  ///< where it is loaded, and entered
inline constexpr std::uint64_t told_at = 0xD000'0000;
inline constexpr std::uint64_t doorbell_at = 0xD010'0050;  ///< QueueNotify of the first virtio-mmio place
inline constexpr std::uint64_t waits = 0xFFFF;
inline constexpr unsigned state_words = 12;
inline constexpr std::uint64_t command_pointer = 0x228;  ///< within boot_params (RSI at entry): cmd_line_ptr

[[nodiscard]] std::span<const std::byte> code();
/// The code as an ELF file that `penumbra run --kernel` takes.
[[nodiscard]] std::string kernel();
/// Writes the kernel to a file.
void write_kernel(const std::string& path);

}  // namespace pc_guest

}  // namespace penumbra::test
