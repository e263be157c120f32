// Thread-local marks that let the bridge prove what a callback may not do.
#pragma once

namespace penumbra {

namespace detail {
inline thread_local unsigned callback_depth = 0;
inline thread_local unsigned open_flush_duties = 0;
}  // namespace detail

/// True while the calling thread is inside a bridge callback: it may not fault, subscribe or invalidate there.
[[nodiscard]] inline bool in_bridge_callback() { return detail::callback_depth != 0; }

class CallbackScope {
public:
    CallbackScope() { ++detail::callback_depth; }
    ~CallbackScope() { --detail::callback_depth; }
    CallbackScope(const CallbackScope&) = delete;
    CallbackScope& operator=(const CallbackScope&) = delete;
};

/// Flush duties the calling thread took on and has not committed. Zero whenever start returns.
[[nodiscard]] inline unsigned open_flush_duties() { return detail::open_flush_duties; }

}  // namespace penumbra
