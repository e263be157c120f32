#include "vmm/devices/line_console.hpp"

#include <vector>

namespace penumbra::vmm {

namespace {
constexpr std::size_t longest_line = 1024;
}

void LineConsole::sent(std::span<const std::byte> bytes) {
    std::vector<std::string> lines;
    {
        const MutexLock lock(mutex_);
        for (const std::byte byte : bytes) {
            const char c = static_cast<char>(byte);
            if (c == '\r') continue;
            if (c != '\n') line_.push_back(c);
            if (c == '\n' || line_.size() == longest_line) lines.push_back(std::exchange(line_, {}));
        }
    }
    for (const std::string& line : lines) sink_(terminal_text(line));  // outside the lock: the sink may block
}

void LineConsole::flush() {
    std::string line;
    {
        const MutexLock lock(mutex_);
        line = std::exchange(line_, {});
    }
    if (!line.empty()) sink_(terminal_text(line));
}

}  // namespace penumbra::vmm
