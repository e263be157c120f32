// A console is two ends of a line: a device of the guest's, and what the user has in front of them.
#pragma once

#include <cstddef>
#include <span>

namespace penumbra::vmm {

/// The user's end. Called on any thread, with no lock of the device held. Never blocks.
class ConsolePeer {
public:
    virtual ~ConsolePeer() = default;
    /// The guest sent these bytes, whatever they are.
    virtual void sent(std::span<const std::byte> bytes) = 0;
    /// The guest has room again for what it would not take before.
    virtual void ready_for_more() = 0;
};

/// The guest's end. Thread-safe; never blocks.
class ConsolePort {
public:
    virtual ~ConsolePort() = default;
    /// Takes as many of the bytes as there is room for, the first ones, and says how many. When it took fewer than
    /// offered, ConsolePeer::ready_for_more() follows, once there is room.
    [[nodiscard]] virtual std::size_t receive(std::span<const std::byte> bytes) = 0;
};

}  // namespace penumbra::vmm
