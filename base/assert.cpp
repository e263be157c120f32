#include "base/assert.hpp"

#include <cstdio>
#include <cstdlib>

#include "base/schedule_point.hpp"

namespace penumbra {

void assertion_failed(const char* expression, const char* file, int line, std::string_view message) {
#if defined(PENUMBRA_TEST_SWITCHES)
    if (Scheduler* simulated = scheduler()) simulated->broken(message);
#endif
    std::fprintf(stderr, "penumbra: broken promise: %.*s (%s) at %s:%d\n", static_cast<int>(message.size()),
                 message.data(), expression, file, line);
    std::fflush(stderr);
    std::abort();
}

}  // namespace penumbra
