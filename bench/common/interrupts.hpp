// SIGINT, SIGTERM and SIGHUP as something to wait for, so that a benchmark that changed settings can put them back.
#pragma once

#include <cstdint>
#include <utility>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace penumbra::bench {

/// Blocks the signals from the construction on, for good; also ignores SIGPIPE. Made before any thread.
class Interrupts {
public:
    [[nodiscard]] static Result<Interrupts> block();

    enum class Waited : std::uint8_t { ready, timed_out };
    /// Waits until `file` can be read, or has ended. An error when a signal comes first.
    [[nodiscard]] Result<Waited> wait_for(int file, int milliseconds) const;

private:
    explicit Interrupts(UniqueFd signals) : signals_(std::move(signals)) {}
    UniqueFd signals_;
};

}  // namespace penumbra::bench
