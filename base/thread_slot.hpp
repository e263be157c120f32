// A small number for each running thread, so that per-thread data can live in a fixed array.
#pragma once

namespace penumbra {

/// Numbers below this belong to one running thread each; thread_slot() answers this number itself to threads that came
/// when all were taken.
inline constexpr unsigned own_thread_slots = 31;

namespace detail {
inline thread_local constinit unsigned thread_slot_plus_one = 0;
/// Takes a number for the calling thread; it goes back when the thread ends.
[[nodiscard]] unsigned take_thread_slot();
}  // namespace detail

[[nodiscard]] inline unsigned thread_slot() {
    const unsigned known = detail::thread_slot_plus_one;
    return known != 0 ? known - 1 : detail::take_thread_slot();
}

}  // namespace penumbra
