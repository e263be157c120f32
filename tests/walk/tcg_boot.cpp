#include "tests/walk/tcg_boot.hpp"

#include <array>
#include <cstring>

#include "guest-images/common/machine_abi.hpp"

extern "C" {
extern const std::byte tcg_kernel_begin[], tcg_kernel_end[];
}

// Position: 0x1500000. The header is Multiboot's, with addresses (flag bit 16), so that the file needs no format.
asm(R"(
    .section .rodata
    .balign 16
    .globl  tcg_kernel_begin, tcg_kernel_end
tcg_kernel_begin:
    .long   0x1BADB002
    .long   0x00010000
    .long   -(0x1BADB002 + 0x00010000)
    .long   0x1500000
    .long   0x1500000
    .long   0x1500000 + (tcg_kernel_end - tcg_kernel_begin)
    .long   0x1500000 + (tcg_kernel_end - tcg_kernel_begin)
    .long   0x1500000 + (1f - tcg_kernel_begin)
    .code32
1:  mov     %cr4, %eax
    or      0x1513050, %eax
    mov     %eax, %cr4
    mov     0x1513054, %eax
    mov     %eax, %cr3
    mov     $0xC0000080, %ecx
    rdmsr
    or      $0x900, %eax
    wrmsr
    mov     %cr0, %eax
    and     $0xFFFFFFFB, %eax
    or      $0x80010003, %eax
    mov     %eax, %cr0
    lgdt    0x1513040
    ljmp    $0x08, $(0x1500000 + (2f - tcg_kernel_begin))
    .code64
2:  mov     $0x10, %eax
    mov     %eax, %ds
    mov     %eax, %es
    mov     %eax, %ss
    mov     $0x1515000, %esp
    mov     $0x1513100, %edi
    xor     %esi, %esi
    mov     $0x100000, %eax
    jmp     *%rax
tcg_kernel_end:
    .text
)");

namespace penumbra::test {

std::vector<std::byte> tcg_kernel() { return {tcg_kernel_begin, tcg_kernel_end}; }

std::vector<std::byte> tcg_tables(unsigned levels) {
    std::vector<std::byte> bytes(0x7000);
    const auto put = [&](std::uint64_t offset, const auto& value) {
        std::memcpy(bytes.data() + offset, &value, sizeof(value));
    };
    constexpr std::uint64_t writable = 0x23, large = 0xE3;  // accessed; a large page's is dirty too
    put(0, std::uint64_t{tcg_tables_base + 0x1000} | writable);
    put(0x1000, std::uint64_t{tcg_tables_base + 0x2000} | writable);
    for (std::uint64_t i = 0; i < 512; ++i) put(0x2000 + i * 8, i << 21 | large);
    put(0x3000, std::array<std::uint64_t, 3>{0, 0x00AF'9B00'0000'FFFF, 0x00CF'9300'0000'FFFF});
    put(0x3040, std::uint16_t{23});
    constexpr std::uint32_t extensions = 0x620, five_levels = 1U << 12;  // PAE, SSE; LA57
    put(0x3050, levels == 5 ? extensions | five_levels : extensions);
    put(0x3054, static_cast<std::uint32_t>(levels == 5 ? tcg_tables_base + 0x6000 : tcg_tables_base));
    put(0x6000, tcg_tables_base | writable);
    put(0x3042, std::uint32_t{tcg_tables_base + 0x3000});
    abi::BootInfo info{};
    info.magic = abi::boot_magic;
    info.ring = static_cast<std::uint64_t>(abi::Ring::kernel);
    put(0x3100, info);
    return bytes;
}

}  // namespace penumbra::test
