#include "tests/sim/trace.hpp"

#include <algorithm>
#include <string_view>

namespace penumbra::test::sim {

namespace {

std::string_view name_of(Step step) {
    static constexpr std::array<std::string_view, 7> names{"read", "write", "lock", "unlock", "wait", "call", "host"};
    return names[static_cast<std::size_t>(step)];
}

}  // namespace

std::string Trace::text(std::size_t most, const std::function<std::string(TaskId)>& name,
                        const std::function<std::string(const void*)>& object) const {
    const std::uint64_t kept = std::min<std::uint64_t>({count_, lines_.size(), most});
    std::string text;
    TaskId last = nobody;
    std::string said;
    for (std::uint64_t i = count_ - kept; i < count_; ++i) {
        const TraceLine& line = lines_[i % lines_.size()];
        std::string now = line.is_note ? std::string(line.note) + ' ' + std::to_string(line.number)
                                       : std::string(name_of(line.step)) + ' ' + object(line.object);
        if (line.task != last) {
            text += (text.empty() ? "" : "\n") + std::string("  ") + name(line.task) + ": " + now;
        } else if (now != said) {
            text += ", " + now;
        }
        last = line.task;
        said = std::move(now);
    }
    return text;
}

}  // namespace penumbra::test::sim
