#include "vmm/run_screen.hpp"

#include <cstdio>
#include <utility>

namespace penumbra::vmm {

void Screen::line(std::string_view text) {
    const MutexLock lock(mutex_);
    if (lines_.size() < most_lines) {
        lines_.emplace_back(text);
    } else {
        ++dropped_;
    }
}

void Screen::print_lines() {
    std::vector<std::string> lines;
    std::uint64_t dropped = 0;
    {
        const MutexLock lock(mutex_);
        lines.swap(lines_);
        dropped = std::exchange(dropped_, 0);
    }
    if (!lines.empty()) progress_.finish();
    for (const std::string& line : lines) std::fprintf(stderr, "%s\n", line.c_str());
    if (dropped > 0) {
        std::fprintf(stderr, "penumbra: %llu more lines were dropped\n", static_cast<unsigned long long>(dropped));
    }
}

}  // namespace penumbra::vmm
