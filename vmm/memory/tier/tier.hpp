// A tier keeps evicted pages: compressed RAM, a file, later a remote store. The pager decides what goes where; a tier
// stores, loads, checks and forgets. Every stored page carries a check over contents, VM, page and version, so a stale
// or misdirected answer is caught like a flipped bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string_view>

#include "base/address.hpp"
#include "base/result.hpp"

namespace penumbra::vmm {

/// The identity that a stored page's check is bound to. `page` is the index of the page in the guest's window.
struct PageIdentity {
    std::uint64_t vm = 0;
    std::uint64_t page = 0;
    std::uint64_t version = 0;
};

/// Where a tier keeps a page. 36 bits, so that it fits the page word; meaningless outside the tier that gave it.
enum class StoreHandle : std::uint64_t {};
inline constexpr unsigned store_handle_bits = 36;

enum class StoreFailure : std::uint8_t {
    full,            ///< no room: nothing was stored; the page may stay where it is
    incompressible,  ///< the compressed tier would save nothing; try another tier
    io,              ///< the medium failed; `error` says how. Stored pages that can still be read stay readable
    corrupt,         ///< the check does not match: the page must not be used
};

struct StoreError {
    StoreFailure failure;
    Error error;
};

template <class T = void>
using StoreResult = std::expected<T, StoreError>;

/// How a stored page's bytes are to be read.
enum class Encoding : std::uint8_t { raw, lz4 };

/// One page's answer in a batch: small, so that a batch allocates nothing. `handle` counts only when `stored()`.
struct StoreOutcome {
    StoreHandle handle{};
    std::optional<StoreFailure> failure;

    [[nodiscard]] bool stored() const { return !failure.has_value(); }
};

using PageBytes = std::span<std::byte, page_bytes>;
using ConstPageBytes = std::span<const std::byte, page_bytes>;

}  // namespace penumbra::vmm
