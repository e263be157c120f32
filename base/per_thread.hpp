// An object of which every thread has its own, also threads of a simulation, which share one thread of the host.
#pragma once

#include <memory>

#include "base/schedule_point.hpp"

namespace penumbra {

/// The calling thread's T, made at its first use. One for each type: give unrelated uses types of their own.
template <class T>
[[nodiscard]] T& per_thread() {
#if defined(PENUMBRA_TEST_SWITCHES)
    if (scheduler() != nullptr) {
        static constexpr char key = 0;
        std::shared_ptr<void>& own = scheduler()->own(&key);
        if (!own) own = std::make_shared<T>();
        return *static_cast<T*>(own.get());
    }
#endif
    static thread_local T value{};
    return value;
}

}  // namespace penumbra
