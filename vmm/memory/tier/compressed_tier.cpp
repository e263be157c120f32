#include "vmm/memory/tier/compressed_tier.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>

#include "base/per_thread.hpp"
#include "base/planted.hpp"
#include "vmm/memory/tier/page_check.hpp"
#include "vmm/memory/tier/page_codec.hpp"

namespace penumbra::vmm {

namespace {

constexpr std::size_t pages_per_turn = 8;
constexpr const char* place = "compressed memory";

/// One thread's compressor and the blobs of one turn.
struct Workbench {
    PageCompressor compressor;
    std::array<std::array<std::byte, page_bytes>, pages_per_turn> blobs;
};

[[nodiscard]] Workbench& workbench() {
    std::unique_ptr<Workbench>& bench = per_thread<std::unique_ptr<Workbench>>();
    if (!bench) bench = std::make_unique<Workbench>();
    return *bench;
}

/// The page's stored form; `space` holds it unless a raw page can stay where it is. Length 0: refused.
[[nodiscard]] Blob encode(const StoreItem& item, PageCompressor& compressor, PageBytes space,
                          Incompressible incompressible) {
    const ConstPageBytes page{item.page, page_bytes};
    const std::size_t length = compressor.compress(page, space.first<CompressedTier::largest_blob>());
    Blob blob{{.page = static_cast<std::uint32_t>(item.identity.page),
               .version = static_cast<std::uint32_t>(item.identity.version),
               .length = static_cast<std::uint16_t>(length),
               .encoding = Encoding::lz4},
              space.data()};
    if (length == 0) {
        if (incompressible == Incompressible::refuse) return blob;
        blob.info.length = page_bytes;
        blob.info.encoding = Encoding::raw;
        blob.bytes = item.page;
    }
    blob.info.check = page_check(item.identity, page);
    if (planted(Plant::corrupt_stored_page)) {
        std::memmove(space.data(), blob.bytes, blob.info.length);
        blob.bytes = space.data();
        flip_one_bit(space.first(blob.info.length));
    }
    return blob;
}

}  // namespace

Result<CompressedTier> CompressedTier::create(std::uint64_t maximum_bytes) {
    PENUMBRA_TRY_ASSIGN(auto pool, BlobPool::create(maximum_bytes));
    return CompressedTier{std::move(pool)};
}

StoreResult<StoreHandle> CompressedTier::store(const PageIdentity& identity, ConstPageBytes page,
                                               Incompressible incompressible) {
    const StoreItem item{identity, page.data()};
    StoreOutcome outcome;
    store_some({&item, 1}, {&outcome, 1}, incompressible);
    if (outcome.stored()) return outcome.handle;
    Error error{"compress page " + std::to_string(identity.page), "", 0, "it saves nothing; keep it elsewhere"};
    if (outcome.failure == StoreFailure::full) {
        error = {"store page " + std::to_string(identity.page),
                 std::string{place} + " of " + std::to_string(limit()) + " bytes", 0,
                 "it is full: raise its limit or add a file tier"};
    }
    return std::unexpected{StoreError{*outcome.failure, std::move(error)}};
}

void CompressedTier::store_batch(std::span<const StoreItem> items, std::span<StoreOutcome> outcomes,
                                 Incompressible incompressible) {
    PENUMBRA_ASSERT(outcomes.size() >= items.size(), "an outcome for every item");
    for (std::size_t at = 0; at < items.size(); at += pages_per_turn) {
        const std::size_t count = std::min(pages_per_turn, items.size() - at);
        store_some(items.subspan(at, count), outcomes.subspan(at, count), incompressible);
    }
}

void CompressedTier::store_some(std::span<const StoreItem> items, std::span<StoreOutcome> outcomes,
                                Incompressible incompressible) {
    Workbench& bench = workbench();
    std::array<Blob, pages_per_turn> blobs;
    std::array<std::size_t, pages_per_turn> item_of{};
    std::array<StoreHandle, pages_per_turn> handles{};
    std::size_t count = 0;
    for (std::size_t i = 0; i < items.size(); ++i) {
        blobs[count] = encode(items[i], bench.compressor, bench.blobs[count], incompressible);
        outcomes[i] = {StoreHandle{}, StoreFailure::incompressible};
        if (blobs[count].info.length > 0) item_of[count++] = i;
    }
    const std::size_t stored = pool_->store(std::span{blobs}.first(count), handles);
    for (std::size_t i = 0; i < count; ++i) {
        outcomes[item_of[i]] =
            i < stored ? StoreOutcome{handles[i], std::nullopt} : StoreOutcome{{}, StoreFailure::full};
    }
}

StoreResult<BlobCopy> CompressedTier::copy_blob(StoreHandle handle, const PageOwner& owner, PageBytes out) const {
    const std::optional<BlobInfo> info = pool_->copy(handle, out);
    if (!info || info->page != owner.page) return corrupt_page(place, owner);
    return BlobCopy{info->check, info->version, info->length, info->encoding};
}

StoreResult<> CompressedTier::load(StoreHandle handle, const PageOwner& owner, PageBytes out) const {
    std::array<std::byte, page_bytes> blob;
    const auto copy = copy_blob(handle, owner, blob);
    if (!copy) return std::unexpected{copy.error()};
    if (!decode_page(copy->encoding, std::span{blob}.first(copy->length), out) ||
        copy->check != page_check({owner.vm, owner.page, copy->version}, ConstPageBytes{out})) {
        return corrupt_page(place, owner);
    }
    return {};
}

bool CompressedTier::matches(StoreHandle handle, const PageOwner& owner, ConstPageBytes page) const {
    const std::optional<BlobInfo> info = pool_->info(handle);
    if (!info) return false;
    const std::uint64_t number = planted(Plant::match_any_page) ? info->page : owner.page;
    return info->page == number && info->check == page_check({owner.vm, number, info->version}, page);
}

void CompressedTier::drop_batch(std::span<const StoreHandle> handles) {
    if (!planted(Plant::keep_dropped_copy)) pool_->free(handles);
}

}  // namespace penumbra::vmm
