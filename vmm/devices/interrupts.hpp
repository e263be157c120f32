// How devices interrupt the guest, and how a guest's doorbells reach them without a trip through the vCPU's thread.
#pragma once

#include <cstdint>

#include "base/address.hpp"
#include "base/result.hpp"

namespace penumbra::vmm {

/// What a device writes to signal a message interrupt (PCI Local Bus 3.0, 6.8). The guest chose both words.
struct MsiMessage {
    std::uint64_t address = 0;
    std::uint32_t data = 0;

    friend bool operator==(const MsiMessage&, const MsiMessage&) = default;
};

/// Global system interrupt: a pin of the IOAPIC; below 16 also of the PICs.
enum class Gsi : std::uint32_t {};

enum class LineLevel : std::uint8_t { low, high };

/// Thread-safe; no call waits for a vCPU. A message that the guest made meaningless is dropped.
class Interrupts {
public:
    virtual ~Interrupts() = default;
    virtual void signal(const MsiMessage& message) = 0;
    /// Devices that share a line each hold it for themselves: `source` tells them apart, the line is high while any
    /// holds it.
    virtual void set_line(Gsi line, std::uint32_t source, LineLevel level) = 0;
};

/// Lets the kernel turn a guest write into an eventfd. Where it cannot, the write arrives as an ordinary access: a
/// device must serve both.
class Doorbells {
public:
    virtual ~Doorbells() = default;
    /// Any write of `bytes` bytes (2 or 4) at `at` signals `eventfd`. Not while a vCPU may sleep in a page fault that
    /// the calling thread must serve.
    [[nodiscard]] virtual Result<> bind(Gpa at, unsigned bytes, int eventfd) = 0;
    virtual void unbind(Gpa at, unsigned bytes, int eventfd) = 0;
};

}  // namespace penumbra::vmm
