// The table of message interrupts of a PCI function (PCI Local Bus 3.0, 6.8.2).
#pragma once

#include <cstdint>
#include <vector>

#include "vmm/devices/interrupts.hpp"

namespace penumbra::vmm {

/// Under its owner's lock. A message that is masked stays pending and goes out when it is unmasked.
class Msix {
public:
    static constexpr unsigned entry_bytes = 16;
    // Of the 16-bit message control register.
    static constexpr std::uint16_t control_enable = 1U << 15;
    static constexpr std::uint16_t control_mask_all = 1U << 14;

    /// At most 2048 vectors. All masked at first, as after reset.
    Msix(unsigned vectors, Interrupts& interrupts);

    [[nodiscard]] unsigned vectors() const { return static_cast<unsigned>(entries_.size()); }
    [[nodiscard]] bool enabled() const { return enabled_; }
    /// The two bits of the message control register.
    void set_control(std::uint16_t control);
    /// Out of range: nothing happens. Only while enabled().
    void signal(unsigned vector);
    void reset();

    // ---- the guest: aligned accesses of 4 or 8 bytes; anything else reads all ones and swallows writes ----
    [[nodiscard]] std::uint64_t read_table(std::uint64_t offset, unsigned size) const;
    void write_table(std::uint64_t offset, unsigned size, std::uint64_t value);
    [[nodiscard]] std::uint64_t read_pending(std::uint64_t offset, unsigned size) const;

private:
    struct Entry {
        MsiMessage message;
        std::uint32_t control = 1;  // bit 0: masked
        bool pending = false;
    };
    [[nodiscard]] std::uint32_t read_word(std::uint64_t offset) const;
    void write_word(std::uint64_t offset, std::uint32_t value);
    [[nodiscard]] std::uint32_t pending_word(std::uint64_t offset) const;
    [[nodiscard]] bool open(const Entry& entry) const { return enabled_ && !all_masked_ && (entry.control & 1) == 0; }
    void deliver_pending();

    std::vector<Entry> entries_;
    Interrupts& interrupts_;
    bool enabled_ = false;
    bool all_masked_ = false;
};

}  // namespace penumbra::vmm
