// A TLB without a size. It forgets nothing by itself, so a translation that outlived its entry because a flush was left
// out stays there to be found, where a real cache would have replaced it by chance. For tests and simulation.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/mutex.hpp"
#include "shadow-mmu/flush/tlb.hpp"

namespace penumbra::mmu {

/// Thread-safe. Holds at most one translation per guest frame of its table.
class ModelledTlb final : public Tlb {
public:
    [[nodiscard]] std::optional<Hvp> lookup(Gfn gfn) const EXCLUDES(mutex_);
    /// Caches a translation; `still_present` is asked after the write and false takes it back, as in DeviceTlb.
    template <class StillPresent>
    void fill(Gfn gfn, Hvp page, StillPresent&& still_present) EXCLUDES(mutex_) {
        put(gfn, page);
        if (!still_present()) drop(GfnRange{gfn, 1});
    }

    void flush(std::span<const GfnRange> ranges) override EXCLUDES(mutex_);
    void flush_all() override EXCLUDES(mutex_);

    /// Frames whose cached page `current(gfn, page)` denies: each is a flush that somebody owed.
    template <class Current>
    [[nodiscard]] std::vector<Gfn> stale(Current&& current) const EXCLUDES(mutex_) {
        std::vector<Gfn> found;
        for (const auto& [gfn, page] : snapshot()) {
            if (!current(gfn, page)) found.push_back(gfn);
        }
        return found;
    }
    [[nodiscard]] std::size_t size() const EXCLUDES(mutex_);

private:
    void put(Gfn gfn, Hvp page) EXCLUDES(mutex_);
    void drop(GfnRange range) EXCLUDES(mutex_);
    [[nodiscard]] std::map<Gfn, Hvp> snapshot() const EXCLUDES(mutex_);

    mutable Mutex mutex_{LockRank::leaf};
    std::map<Gfn, Hvp> pages_ GUARDED_BY(mutex_);
};

}  // namespace penumbra::mmu
