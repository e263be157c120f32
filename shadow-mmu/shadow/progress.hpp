// Who may have a guest table next: the guest that writes it, or the device that wants it to stand still.
//
// A table that is written while it is watched costs both sides: the guest a fault, the device everything derived. After
// such a write the guest has the page for a slice of time, in which nobody watches it again; the slice doubles while
// the quarrel goes on. A context that is in such quarrels often is better off without watching, if its guest announces
// changes.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <optional>

#include "base/address.hpp"

namespace penumbra::mmu {

using ShadowTime = std::chrono::steady_clock::time_point;
using ShadowClock = std::function<ShadowTime()>;

struct ProgressLimits {
    std::chrono::microseconds first_slice{100};
    std::chrono::microseconds longest_slice{5'000};
    std::chrono::microseconds calm{50'000};       ///< watched so long without a write: the quarrel is over
    std::chrono::microseconds window{1'000'000};  ///< of a context's count
    unsigned writes_in_window = 64;               ///< more make a context cooperative
    std::size_t remembered = 1024;                ///< pages
};

/// Slices of pages. Not thread-safe. Forgets the page that was written longest ago when it remembers too many.
class WatchSlices {
public:
    explicit WatchSlices(const ProgressLimits& limits) : limits_(limits) {}

    void watched(Gfn page, ShadowTime now);
    /// A write ended a watch of the page.
    void written(Gfn page, ShadowTime now);
    /// Until when the page is the guest's.
    [[nodiscard]] std::optional<ShadowTime> wait_until(Gfn page, ShadowTime now) const;
    [[nodiscard]] std::size_t remembered() const { return pages_.size(); }

private:
    struct Page {
        ShadowTime watched_at;
        ShadowTime guest_until;
        std::chrono::microseconds slice{0};
        std::list<Gfn>::iterator age;
    };
    ProgressLimits limits_;
    std::map<Gfn, Page> pages_;
    std::list<Gfn> ages_;  // written longest ago first
};

/// Writes to one context's watched tables.
class PingPong {
public:
    /// Counts one; true when there were too many lately.
    [[nodiscard]] bool count(const ProgressLimits& limits, ShadowTime now);

private:
    ShadowTime since_{};
    unsigned writes_ = 0;
};

}  // namespace penumbra::mmu
