// A standard stream used without ever blocking on it, whatever it is connected to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <variant>

#include "base/unique_fd.hpp"

namespace penumbra::vmm {

enum class StreamUse : std::uint8_t { input, output };

/// The descriptor itself is shared with other processes, so its flags are left alone: terminals and pipes are opened
/// once more for this process alone, without blocking. Where that is refused, polling before each small step does.
class Stream {
public:
    /// `fd` outlives the stream.
    Stream(int fd, StreamUse use);

    struct Blocked {};         ///< nothing now: poll
    struct Ended {             ///< for good
        int error_number = 0;  ///< 0: the end of the input
    };
    using Step = std::variant<std::size_t, Blocked, Ended>;
    /// At least one byte, Blocked or Ended. After poll() said so.
    [[nodiscard]] Step read(std::span<std::byte> to) const;
    [[nodiscard]] Step write(std::span<const std::byte> from) const;

    /// To poll.
    [[nodiscard]] int fd() const { return own_ ? own_.get() : shared_; }

private:
    int shared_;
    UniqueFd own_;
    bool socket_ = false;
    std::size_t most_at_once_;
};

}  // namespace penumbra::vmm
