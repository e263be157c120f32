// Checks of internal promises. They stay on in release builds: a broken promise about guest memory must stop the
// process before it can hand a guest wrong data.
#pragma once

#include <string_view>

namespace penumbra {

/// Prints the broken promise to stderr and aborts. Never returns.
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line, std::string_view message);

}  // namespace penumbra

#define PENUMBRA_ASSERT(condition, message)                                          \
    do {                                                                             \
        if (!(condition)) [[unlikely]] {                                             \
            ::penumbra::assertion_failed(#condition, __FILE__, __LINE__, (message)); \
        }                                                                            \
    } while (false)
