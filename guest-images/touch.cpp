// Touches one page at a time, as the host names them, and tells how long each touch took: the latency of a fault as a
// guest sees it. It may run in ring 0 on hosts that interpret it, hence the plain instructions.
#pragma GCC target("general-regs-only")

#include "guest-images/common/runtime.hpp"

namespace {

using namespace penumbra;

std::uint64_t ticks() {
    std::uint32_t low;
    std::uint32_t high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return std::uint64_t{high} << 32 | low;
}
/// Keeps the touch between the two clock reads. (RDTSCP would do both, but interpreters of ring 0 lack it.)
void settle() { asm volatile("lfence" : : : "memory"); }
void touch(std::uint64_t gpa, abi::TouchKind kind) {
    if (kind == abi::TouchKind::write) {
        asm volatile("movq %0, (%0)" : : "r"(gpa) : "memory");
    } else {
        std::uint64_t value;
        asm volatile("movq (%1), %0" : "=r"(value) : "r"(gpa) : "memory");
    }
}

}  // namespace

extern "C" void image_main(const abi::BootInfo* /*boot*/, std::uint64_t cpu) {
    if (cpu != 0) return;
    for (;;) {
        const std::uint64_t gpa = guest::port_read(abi::Port::next_touch);
        if (gpa == abi::no_more) break;
        const auto kind = static_cast<abi::TouchKind>(guest::port_read(abi::Port::touch_kind));
        settle();
        const std::uint64_t start = ticks();
        touch(gpa, kind);
        settle();
        guest::port_write(abi::Port::touch_ticks, ticks() - start);
    }
    guest::port_write(abi::Port::exit, 0);
}
