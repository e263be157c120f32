// Under which key a page lies on the store: "penumbra:VM:PAGE:SERIAL", so that `SCAN MATCH penumbra:VM:*` lists a VM's.
//
// A serial is used once in a VM's life. So no command that arrives late, twice or out of order, however it got lost,
// can touch a page that was stored after it. There is no hash tag: a cluster spreads a VM's pages over all its nodes.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "vmm/memory/tier/remote/remote_options.hpp"
#include "vmm/memory/tier/tier.hpp"

namespace penumbra::vmm {

inline constexpr unsigned serial_bits = 48;

struct PageKey {
    std::array<char, 62> text;
    [[nodiscard]] std::string_view view() const { return {text.data(), text.size()}; }
};

class PageKeys {
public:
    explicit PageKeys(VmId vm);
    [[nodiscard]] PageKey of(std::uint32_t page, std::uint64_t serial) const;
    /// What all keys of the VM start with.
    [[nodiscard]] std::string_view prefix() const { return first_.view().substr(0, prefix_bytes); }

private:
    static constexpr std::size_t prefix_bytes = 9 + 32 + 1;
    PageKey first_;
};

inline constexpr unsigned cluster_slots = 16384;
/// The cluster's slot of a key without braces (Redis cluster specification, "Key distribution model").
[[nodiscard]] std::uint16_t cluster_slot(std::string_view key);

}  // namespace penumbra::vmm
