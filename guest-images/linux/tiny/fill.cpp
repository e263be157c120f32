// The tiny kernel's first process: fills memory from user mode and checks it. It may run where user mode has no system
// calls, so it ends by an exception, and the kernel's panic tells how it went: exitcode 0x4 (an illegal instruction):
// memory was right; 0x5 (a breakpoint): it was not. With the word `say` among its arguments it says so through system
// calls and restarts the machine. A number among them is how many times memory is rewritten (2).
#include <cstdint>

namespace {

constexpr std::uint64_t words = (std::uint64_t{FILL_MIB} << 20U) / 8;
constexpr std::uint64_t words_per_page = 512;

alignas(4096) std::uint64_t memory[words];

std::uint64_t mixed(std::uint64_t value) {
    value += 0x9E3779B97F4A7C15U;
    value = (value ^ (value >> 30U)) * 0xBF58476D1CE4E5B9U;
    return value ^ (value >> 27U);
}

/// Half of a page repeats one word: it compresses about 2:1.
std::uint64_t wanted(std::uint64_t index, std::uint64_t round) {
    const std::uint64_t page = mixed(index / words_per_page + (round << 32U));
    return index % 2 == 0 ? mixed(page + index) : page;
}

bool right_after(std::uint64_t rounds) {
    for (std::uint64_t round = 0; round <= rounds; ++round) {
        for (std::uint64_t i = 0; i < words; ++i) {
            const std::uint64_t before = round == 0 ? 0 : wanted(i, round);
            if (const_cast<volatile std::uint64_t&>(memory[i]) != before) return false;
            const_cast<volatile std::uint64_t&>(memory[i]) = wanted(i, round + 1);
        }
    }
    return true;
}

long call(long number, long a, long b, long c, long d = 0) {
    register long r10 asm("r10") = d;
    asm volatile("syscall" : "+a"(number) : "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return number;
}

void say(const char* text) {
    long length = 0;
    while (text[length] != 0) ++length;
    call(1, 1, reinterpret_cast<long>(text), length);
}

}  // namespace

extern "C" [[noreturn]] void fill_main(const std::uint64_t* stack) {
    const auto count = stack[0];
    const auto* arguments = reinterpret_cast<const char* const*>(stack + 1);
    bool speaks = false;
    std::uint64_t rounds = 0;
    for (std::uint64_t i = 1; i < count; ++i) {
        if (arguments[i][0] == 's') speaks = true;
        if (arguments[i][0] >= '1' && arguments[i][0] <= '9') {
            for (const char* c = arguments[i]; *c >= '0' && *c <= '9'; ++c) {
                rounds = rounds * 10 + static_cast<std::uint64_t>(*c - '0');
            }
        }
    }
    const bool right = right_after(rounds == 0 ? 2 : rounds);
    if (speaks) {
        say(right ? "penumbra: tiny-kernel ok\n" : "penumbra: tiny-kernel failed: memory is wrong\n");
        call(169, static_cast<long>(0xfee1dead), 672274793, 0x1234567);  // reboot(LINUX_REBOOT_CMD_RESTART)
    }
    if (right) asm volatile("ud2");
    asm volatile("int3");
    for (;;) {
    }
}

asm(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall fill_main\n");
