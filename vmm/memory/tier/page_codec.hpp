// LZ4 for one page at a time, with the compressor's state kept between pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "vmm/memory/tier/tier.hpp"

namespace penumbra::vmm {

/// One thread at a time.
class PageCompressor {
public:
    PageCompressor();

    /// The bytes written to `out`, or 0 when the page does not fit there.
    [[nodiscard]] std::size_t compress(ConstPageBytes page, std::span<std::byte> out);

private:
    std::unique_ptr<std::uint64_t[]> state_;  // LZ4 wants 8-byte alignment
};

/// Fills `out` from stored bytes; false when they do not decode to exactly one page. Never writes outside `out`.
[[nodiscard]] bool decode_page(Encoding encoding, std::span<const std::byte> stored, PageBytes out);

}  // namespace penumbra::vmm
