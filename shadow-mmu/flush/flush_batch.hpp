// Flush duty as an object. Whoever zaps entries adds their runs here and must commit before anybody may believe that
// the pages are unreachable. Bounded; an overflow becomes a full flush, or an early commit where nothing like a full
// flush exists. The destructor asserts that nothing was left uncommitted. (Model: PendingTlbInvalidation in Zircon.)
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "base/assert.hpp"
#include "base/callback_scope.hpp"

namespace penumbra::mmu {

/// Target must have: `using Run`, `static constexpr std::size_t capacity`, `void flush(std::span<const Run>)`, and
/// either `void flush_all()` or none, in which case a full batch commits early.
template <class Target>
class FlushBatch {
public:
    using Run = typename Target::Run;

    explicit FlushBatch(Target& target) : target_(target) {}
    FlushBatch(const FlushBatch&) = delete;
    FlushBatch& operator=(const FlushBatch&) = delete;
    ~FlushBatch() { PENUMBRA_ASSERT(count_ == 0 && !overflowed_, "flush duty dropped without a commit"); }

    void add(const Run& run) {
        if (count_ == 0 && !overflowed_) ++detail::open_flush_duties;
        if (count_ == Target::capacity) {
            if constexpr (requires { target_.flush_all(); }) {
                overflowed_ = true;
                return;
            } else {
                commit();
                ++detail::open_flush_duties;
            }
        }
        runs_[count_++] = run;
    }

    /// Discharges the duty: on return no translation of any added run is cached anywhere.
    void commit() {
        if (count_ == 0 && !overflowed_) return;
        if constexpr (requires { target_.flush_all(); }) {
            if (overflowed_) {
                target_.flush_all();
            } else {
                target_.flush(std::span<const Run>{runs_.data(), count_});
            }
        } else {
            target_.flush(std::span<const Run>{runs_.data(), count_});
        }
        count_ = 0;
        overflowed_ = false;
        --detail::open_flush_duties;
    }

private:
    Target& target_;
    std::array<Run, Target::capacity> runs_{};
    std::size_t count_ = 0;
    bool overflowed_ = false;
};

}  // namespace penumbra::mmu
