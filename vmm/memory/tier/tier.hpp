// A tier keeps evicted pages: compressed RAM, a file, later a remote store. The pager decides what goes where; a tier
// stores, loads, checks and forgets. Every stored page carries a check over contents, VM, page and version, so a
// misdirected answer is caught like a flipped bit. The version lies beside the stored bytes: who asks for a page need
// not know it, and a copy that is kept while its page is in use can be asked whether it still says what the page says.
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

inline constexpr unsigned page_index_bits = 28;    ///< of a page's number: windows of up to 1 TiB
inline constexpr unsigned page_version_bits = 20;  ///< of a version; higher bits do not count

/// Whose page: a VM of this process and the index of the page in its window.
struct PageOwner {
    std::uint64_t vm = 0;
    std::uint64_t page = 0;
};

/// The identity that a stored page's check is bound to.
struct PageIdentity {
    std::uint64_t vm = 0;
    std::uint64_t page = 0;
    std::uint64_t version = 0;

    [[nodiscard]] PageOwner owner() const { return {vm, page}; }
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

/// How a stored page's bytes are to be read. `filled`: 8 bytes, which the whole page repeats.
enum class Encoding : std::uint8_t { raw, lz4, zstd, filled };

/// A page's stored form on its way to another tier, but for its bytes.
struct BlobCopy {
    std::uint64_t check = 0;
    std::uint32_t version = 0;
    std::uint16_t length = 0;
    Encoding encoding = Encoding::raw;
};

/// One page's answer in a batch: small, so that a batch allocates nothing. `handle` counts only when `stored()`.
struct StoreOutcome {
    StoreHandle handle{};
    std::optional<StoreFailure> failure;

    [[nodiscard]] bool stored() const { return !failure.has_value(); }
};

using PageBytes = std::span<std::byte, page_bytes>;
using ConstPageBytes = std::span<const std::byte, page_bytes>;

}  // namespace penumbra::vmm
