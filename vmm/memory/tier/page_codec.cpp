#include "vmm/memory/tier/page_codec.hpp"

#include <lz4.h>

#include <cstring>

namespace penumbra::vmm {

namespace {

constexpr int fastest_that_compresses_well = 1;  // LZ4's own default acceleration

[[nodiscard]] std::size_t state_words() {
    return (static_cast<std::size_t>(LZ4_sizeofState()) + sizeof(std::uint64_t) - 1) / sizeof(std::uint64_t);
}

}  // namespace

PageCompressor::PageCompressor() : state_(std::make_unique<std::uint64_t[]>(state_words())) {}

std::size_t PageCompressor::compress(ConstPageBytes page, std::span<std::byte> out) {
    const int written = LZ4_compress_fast_extState(state_.get(), reinterpret_cast<const char*>(page.data()),
                                                   reinterpret_cast<char*>(out.data()), static_cast<int>(page.size()),
                                                   static_cast<int>(out.size()), fastest_that_compresses_well);
    return written > 0 ? static_cast<std::size_t>(written) : 0;
}

bool decode_page(Encoding encoding, std::span<const std::byte> stored, PageBytes out) {
    if (encoding == Encoding::raw) {
        if (stored.size() != out.size()) return false;
        std::memcpy(out.data(), stored.data(), out.size());
        return true;
    }
    const int read =
        LZ4_decompress_safe(reinterpret_cast<const char*>(stored.data()), reinterpret_cast<char*>(out.data()),
                            static_cast<int>(stored.size()), static_cast<int>(out.size()));
    return read == static_cast<int>(out.size());
}

}  // namespace penumbra::vmm
