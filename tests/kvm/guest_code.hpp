// Labels of the guest code in guest_code.cpp.
#pragma once

#include <cstddef>

extern "C" {
extern const std::byte guest_code_begin[], guest_code_end[], guest_enter_user[], guest_trap_stubs[];
extern const std::byte guest_store[], guest_load[], guest_port_out[], guest_port_string[], guest_spin[], guest_halt[],
    guest_popcount[], guest_undefined[], guest_count_ticks[], guest_sweep[];
}
