#include "bench/common/backing.hpp"

#include <lz4.h>

#include <array>

#include "base/assert.hpp"
#include "bench/common/ticks.hpp"

namespace penumbra::bench {

using vmm::PageState;

Result<> PlainBacking::prepare(std::span<const std::uint32_t> pages) {
    for (const std::uint32_t page : pages) region_.discard(std::size_t{page} * page_bytes, page_bytes);
    return {};
}

Result<> BareBacking::prepare(std::span<const std::uint32_t> pages) {
    loop_->drop(pages);
    return {};
}

PenumbraBacking::PenumbraBacking(std::string name, vmm::MemorySystem& memory, Gpa first, Depth depth)
    : Backing(std::move(name),
              depth == Depth::limbo ? "Penumbra, page in a staging slot" : "Penumbra, page in the compressed tier",
              memory.window_pages().first() + *memory.layout().window_page_of(frame_of(first)), first),
      memory_(memory),
      depth_(depth) {}

Result<> PenumbraBacking::empty_limbo() {
    vmm::Limbo& limbo = *memory_.state().limbo;
    constexpr std::size_t batch = 64;
    while (limbo.used() > 0) {
        if (memory_.reclaimer().pack(batch, vmm::Reclaimer::PackTarget::memory_only) == 0) {
            return fail("pack every page of", "limbo", "raise the budget");
        }
    }
    return {};
}

Result<> PenumbraBacking::prepare(std::span<const std::uint32_t> pages) {
    if (depth_ == Depth::packed) PENUMBRA_TRY(empty_limbo());
    std::vector<Hvp> victims;
    for (const std::uint32_t page : pages) victims.push_back(host(page));
    const std::size_t left = memory_.reclaimer().evict_pages(victims, bridge::Blockable::yes).taken;
    if (left != victims.size()) return fail("take pages out of", "the window");
    if (depth_ == Depth::packed) PENUMBRA_TRY(empty_limbo());
    const PageState wanted = depth_ == Depth::packed ? PageState::compressed : PageState::limbo;
    for (const Hvp page : victims) {
        const vmm::PagerState& state = memory_.state();
        if (state.words.load(state.index_of(page)).state() != wanted) return fail("push a page to", name());
    }
    return {};
}

bool DecompressionProbe::compresses(PageView page) {
    std::array<char, largest_blob> blob;
    return LZ4_compress_default(reinterpret_cast<const char*>(page.data()), blob.data(), static_cast<int>(page_bytes),
                                static_cast<int>(blob.size())) > 0;
}

DecompressionProbe::DecompressionProbe(const PayloadPages& payload) {
    std::array<char, largest_blob> blob;
    for (std::uint32_t i = 0; i < payload.count(); ++i) {
        const int bytes = LZ4_compress_default(reinterpret_cast<const char*>(payload.page(i).data()), blob.data(),
                                               static_cast<int>(page_bytes), static_cast<int>(blob.size()));
        PENUMBRA_ASSERT(bytes > 0, "a payload page that does not compress");
        blobs_.push_back({store_.size(), bytes});
        store_.insert(store_.end(), blob.data(), blob.data() + bytes);
    }
}

void DecompressionProbe::measure(std::span<const std::uint32_t> pages, std::vector<std::uint64_t>& ticks) const {
    std::array<char, page_bytes> page;
    for (const std::uint32_t index : pages) {
        const Blob& blob = blobs_[index];
        const std::uint64_t start = ticks_now();
        const int bytes =
            LZ4_decompress_safe(store_.data() + blob.at, page.data(), blob.bytes, static_cast<int>(page.size()));
        ticks.push_back(ticks_now() - start);
        PENUMBRA_ASSERT(bytes == static_cast<int>(page_bytes), "a blob that does not decompress to a page");
    }
}

}  // namespace penumbra::bench
