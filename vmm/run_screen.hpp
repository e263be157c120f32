// What a run tells people on standard error: lines of the guest and of devices, and how far it has come.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.hpp"
#include "vmm/control/progress.hpp"

namespace penumbra::vmm {

/// Lines and progress share the terminal. Only the main thread writes, so that a reader who is slow to take our lines
/// holds up no vCPU.
class Screen {
public:
    Screen() : progress_(Progress::on(stderr)) {}

    /// Any thread. Lines beyond the limit are counted instead of kept.
    void line(std::string_view text) EXCLUDES(mutex_);

    // ---- the main thread ----
    void progress(const ProgressState& state) {
        print_lines();
        progress_.update(state);
    }
    /// Prints the lines; the progress stays as it is.
    void print_lines() EXCLUDES(mutex_);
    void finish() {
        print_lines();
        progress_.finish();
    }

private:
    static constexpr std::size_t most_lines = 1000;

    Mutex mutex_{LockRank::report};
    std::vector<std::string> lines_ GUARDED_BY(mutex_);
    std::uint64_t dropped_ GUARDED_BY(mutex_) = 0;
    Progress progress_;
};

}  // namespace penumbra::vmm
