#include "vmm/memory/tier/page_codec.hpp"

#include <lz4.h>
#include <zstd.h>

#include <cstring>

#include "base/assert.hpp"
#include "base/per_thread.hpp"

namespace penumbra::vmm {

namespace {

// Twice as fast would be a sixth less time and a twentieth less compression.
constexpr int lz4_acceleration = 1;
constexpr int zstd_level = 1;

[[nodiscard]] std::size_t lz4_state_words() {
    return (static_cast<std::size_t>(LZ4_sizeofState()) + sizeof(std::uint64_t) - 1) / sizeof(std::uint64_t);
}

/// A thread's own decompressor, made when it meets its first Zstandard page.
class ZstdReader {
public:
    ZstdReader() : context_(ZSTD_createDCtx()) { PENUMBRA_ASSERT(context_ != nullptr, "memory for a decompressor"); }
    ~ZstdReader() { ZSTD_freeDCtx(context_); }
    ZstdReader(const ZstdReader&) = delete;
    ZstdReader& operator=(const ZstdReader&) = delete;

    [[nodiscard]] bool decode(std::span<const std::byte> stored, PageBytes out) {
        const std::size_t read = ZSTD_decompressDCtx(context_, out.data(), out.size(), stored.data(), stored.size());
        return ZSTD_isError(read) == 0 && read == out.size();
    }

private:
    ZSTD_DCtx* context_;
};

[[nodiscard]] bool decode_lz4(std::span<const std::byte> stored, PageBytes out) {
    const int read =
        LZ4_decompress_safe(reinterpret_cast<const char*>(stored.data()), reinterpret_cast<char*>(out.data()),
                            static_cast<int>(stored.size()), static_cast<int>(out.size()));
    return read == static_cast<int>(out.size());
}

}  // namespace

void PageCompressor::FreeZstd::operator()(ZSTD_CCtx_s* context) const { ZSTD_freeCCtx(context); }

PageCompressor::PageCompressor() : lz4_(std::make_unique<std::uint64_t[]>(lz4_state_words())) {}

std::size_t PageCompressor::compress(Codec codec, ConstPageBytes page, std::span<std::byte> out) {
    if (codec == Codec::zstd) return compress_zstd(page, out);
    const int written = LZ4_compress_fast_extState(lz4_.get(), reinterpret_cast<const char*>(page.data()),
                                                   reinterpret_cast<char*>(out.data()), static_cast<int>(page.size()),
                                                   static_cast<int>(out.size()), lz4_acceleration);
    return written > 0 ? static_cast<std::size_t>(written) : 0;
}

std::size_t PageCompressor::compress_zstd(ConstPageBytes page, std::span<std::byte> out) {
    if (!zstd_) zstd_.reset(ZSTD_createCCtx());
    PENUMBRA_ASSERT(zstd_ != nullptr, "memory for a compressor");
    const std::size_t written =
        ZSTD_compressCCtx(zstd_.get(), out.data(), out.size(), page.data(), page.size(), zstd_level);
    return ZSTD_isError(written) == 0 ? written : 0;
}

std::optional<PageFill> same_filled(ConstPageBytes page) {
    if (std::memcmp(page.data(), page.data() + sizeof(PageFill), page.size() - sizeof(PageFill)) != 0) return {};
    PageFill fill = 0;
    std::memcpy(&fill, page.data(), sizeof fill);
    return fill;
}

bool decode_page(Encoding encoding, std::span<const std::byte> stored, PageBytes out) {
    switch (encoding) {
        case Encoding::raw:
            if (stored.size() != out.size()) return false;
            std::memcpy(out.data(), stored.data(), out.size());
            return true;
        case Encoding::lz4:
            return decode_lz4(stored, out);
        case Encoding::zstd:
            return per_thread<ZstdReader>().decode(stored, out);
        case Encoding::filled:
            if (stored.size() != sizeof(PageFill)) return false;
            for (std::size_t at = 0; at < out.size(); at += sizeof(PageFill)) {
                std::memcpy(out.data() + at, stored.data(), sizeof(PageFill));
            }
            return true;
    }
    return false;
}

}  // namespace penumbra::vmm
