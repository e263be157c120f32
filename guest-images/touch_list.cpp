// Touches whole lists of pages, as the host names them: next_touch answers the address of a list
// (common/touch_list.hpp) in place of a page, touch_ticks tells how long all of it took. So the fixed cost of an exit
// is shared by many touches.
#pragma GCC target("general-regs-only")

#include "guest-images/common/touch_list.hpp"

#include "guest-images/common/runtime.hpp"

namespace {

using namespace penumbra;

std::uint64_t ticks() {
    std::uint32_t low;
    std::uint32_t high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return std::uint64_t{high} << 32 | low;
}

}  // namespace

extern "C" void image_main(const abi::BootInfo* /*boot*/, std::uint64_t cpu) {
    if (cpu != 0) return;
    for (;;) {
        const std::uint64_t gpa = guest::port_read(abi::Port::next_touch);
        if (gpa == abi::no_more) break;
        auto& list = *reinterpret_cast<volatile abi::TouchList*>(gpa);
        const std::uint64_t start = ticks();
        abi::work_through(list, list.kind == static_cast<std::uint64_t>(abi::TouchKind::write));
        guest::port_write(abi::Port::touch_ticks, ticks() - start);
    }
    guest::port_write(abi::Port::exit, 0);
}
