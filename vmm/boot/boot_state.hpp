// What a guest finds when it starts: boot information, identity page tables, a stack per vCPU (see machine_abi.hpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "guest-images/common/machine_abi.hpp"
#include "vmm/boot/address_layout.hpp"
#include "vmm/boot/guest_writer.hpp"
#include "vmm/kvm/cpu_state.hpp"

namespace penumbra::vmm {

/// Identity page tables from abi::boot_tables_base on: at least the first 4 GiB, and all RAM; 2 MiB pages, writable and
/// open to CPL 3, already marked accessed and dirty so that walks need not write to them.
[[nodiscard]] std::vector<std::byte> boot_page_tables(const AddressLayout& layout);

/// Writes `info`, completed with magic and RAM sizes, and the page tables.
[[nodiscard]] Result<> write_boot_state(abi::BootInfo info, const AddressLayout& layout, const WriteGuest& write);

/// The state in which vCPU `cpu` enters the image.
[[nodiscard]] LongModeEntry boot_entry(std::uint32_t cpu);

}  // namespace penumbra::vmm
