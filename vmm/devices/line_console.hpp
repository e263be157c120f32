// A console that only listens, line by line: for guests whose output is a report.
#pragma once

#include <string>
#include <utility>

#include "base/mutex.hpp"
#include "vmm/devices/console_port.hpp"
#include "vmm/devices/terminal_text.hpp"

namespace penumbra::vmm {

/// Thread-safe; lines of one vCPU stay in order. Carriage returns vanish; a line is cut where it grows too long.
class LineConsole final : public ConsolePeer {
public:
    explicit LineConsole(LineSink sink) : sink_(std::move(sink)) {}

    void sent(std::span<const std::byte> bytes) override EXCLUDES(mutex_);
    void ready_for_more() override {}
    /// Hands on what was sent since the last line end.
    void flush() EXCLUDES(mutex_);

private:
    const LineSink sink_;
    Mutex mutex_{LockRank::leaf};
    std::string line_ GUARDED_BY(mutex_);
};

}  // namespace penumbra::vmm
