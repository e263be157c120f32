// One page at a time to its stored form and back, with the compressors' states kept between pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "vmm/memory/tier/tier.hpp"

struct ZSTD_CCtx_s;

namespace penumbra::vmm {

/// LZ4 costs a third of Zstandard's time both ways; Zstandard keeps a third more pages in the same memory, and takes
/// most of those that LZ4 cannot shrink at all.
enum class Codec : std::uint8_t { lz4, zstd };

[[nodiscard]] constexpr Encoding encoding_of(Codec codec) {
    return codec == Codec::lz4 ? Encoding::lz4 : Encoding::zstd;
}

/// One thread at a time.
class PageCompressor {
public:
    PageCompressor();

    /// The bytes written to `out`, or 0 when the page does not fit there.
    [[nodiscard]] std::size_t compress(Codec codec, ConstPageBytes page, std::span<std::byte> out);

private:
    struct FreeZstd {
        void operator()(ZSTD_CCtx_s* context) const;
    };

    [[nodiscard]] std::size_t compress_zstd(ConstPageBytes page, std::span<std::byte> out);

    std::unique_ptr<std::uint64_t[]> lz4_;         // LZ4 wants 8-byte alignment
    std::unique_ptr<ZSTD_CCtx_s, FreeZstd> zstd_;  // made at its first use: 72 KiB
};

using PageFill = std::uint64_t;

/// What every 8 bytes of the page are, if they are all alike.
[[nodiscard]] std::optional<PageFill> same_filled(ConstPageBytes page);

/// Fills `out` from stored bytes; false when they do not decode to exactly one page. Never writes outside `out`.
[[nodiscard]] bool decode_page(Encoding encoding, std::span<const std::byte> stored, PageBytes out);

}  // namespace penumbra::vmm
