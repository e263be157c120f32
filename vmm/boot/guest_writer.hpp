// How boot code puts bytes into guest memory: never itself, always through its owner.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "base/address.hpp"
#include "base/result.hpp"

namespace penumbra::vmm {

/// Stores bytes that lie within one guest page. Must make the page present if it is not.
using WriteGuest = std::function<Result<>(Gpa, std::span<const std::byte>)>;

/// Hands `bytes` to `write` one page at a time; stops at the first error.
[[nodiscard]] Result<> write_by_pages(Gpa first, std::span<const std::byte> bytes, const WriteGuest& write);

}  // namespace penumbra::vmm
