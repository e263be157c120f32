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
constexpr const char* tier_name = "compressed memory";

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

}  // namespace

/// A few pages on their way in.
struct CompressedTier::Turn {
    std::span<const StoreItem> items;
    Workbench& bench;
    std::array<ContentHash, pages_per_turn> contents{};
    std::array<Blob, pages_per_turn> blobs{};
    std::array<std::size_t, pages_per_turn> item_of{};  // of a blob
    std::size_t count = 0;                              // of blobs

    [[nodiscard]] ConstPageBytes page(std::size_t item) const { return ConstPageBytes{items[item].page, page_bytes}; }
    /// Whether an item before it has the same contents.
    [[nodiscard]] bool is_twin(std::size_t item) const {
        const auto end = contents.begin() + static_cast<std::ptrdiff_t>(item);
        return std::find(contents.begin(), end, contents[item]) != end;
    }
};

Result<CompressedTier> CompressedTier::create(std::uint64_t maximum_bytes, Codec codec) {
    PENUMBRA_TRY_ASSIGN(auto pool, BlobPool::create(maximum_bytes));
    return CompressedTier{std::move(pool), codec};
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
                 std::string{tier_name} + " of " + std::to_string(limit()) + " bytes", 0,
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
    Turn turn{.items = items, .bench = workbench()};
    for (std::size_t i = 0; i < items.size(); ++i) turn.contents[i] = content_hash(turn.page(i));
    const auto store_one = [&](std::size_t i) {
        outcomes[i] = {StoreHandle{}, StoreFailure::incompressible};
        if (const auto shared = share(items[i], turn.contents[i])) {
            outcomes[i] = {*shared, std::nullopt};
        } else {
            encode(turn, i, incompressible);
        }
    };
    // Twins find the first of them only once that is stored.
    std::array<std::size_t, pages_per_turn> twins{};
    std::size_t twin_count = 0;
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (turn.is_twin(i)) {
            twins[twin_count++] = i;
        } else {
            store_one(i);
        }
    }
    flush(turn, outcomes);
    for (const std::size_t i : std::span{twins}.first(twin_count)) store_one(i);
    flush(turn, outcomes);
}

std::optional<StoreHandle> CompressedTier::share(const StoreItem& item, ContentHash contents) {
    const BlobInfo info{.check = page_check(item.identity, contents),
                        .page = static_cast<std::uint32_t>(item.identity.page),
                        .version = static_cast<std::uint32_t>(item.identity.version)};
    const auto handle = pool_->share({item.identity.vm, contents}, info);
    if (!handle) return std::nullopt;
    // Hashes may collide, by chance or by somebody's doing: only the bytes prove it.
    std::array<std::byte, page_bytes> blob;
    std::array<std::byte, page_bytes> page;
    const auto shared = pool_->copy(*handle, blob);
    if (shared && decode_page(shared->encoding, std::span{blob}.first(shared->length), page) &&
        std::memcmp(page.data(), item.page, page_bytes) == 0) {
        return handle;
    }
    pool_->free({&*handle, 1});
    return std::nullopt;
}

/// Adds the item's blob to the turn, unless it is refused.
void CompressedTier::encode(Turn& turn, std::size_t item, Incompressible incompressible) {
    const PageIdentity& identity = turn.items[item].identity;
    const ConstPageBytes page = turn.page(item);
    const PageBytes space{turn.bench.blobs[turn.count]};
    Blob blob{{.check = page_check(identity, turn.contents[item]),
               .page = static_cast<std::uint32_t>(identity.page),
               .version = static_cast<std::uint32_t>(identity.version)},
              space.data(),
              SharedContents{identity.vm, turn.contents[item]}};
    if (const std::optional<PageFill> fill = same_filled(page)) {
        blob.info.encoding = Encoding::filled;
        blob.info.length = sizeof *fill;
        blob.contents.reset();  // costs no more than a duplicate
        std::memcpy(space.data(), &*fill, sizeof *fill);
    } else {
        const std::size_t length = turn.bench.compressor.compress(codec_, page, space.first<largest_blob>());
        blob.info.encoding = length == 0 ? Encoding::raw : encoding_of(codec_);
        blob.info.length = static_cast<std::uint16_t>(length == 0 ? page_bytes : length);
        if (length == 0) blob.bytes = page.data();
        if (length == 0 && incompressible == Incompressible::refuse) return;
    }
    if (planted(Plant::corrupt_stored_page)) {
        std::memmove(space.data(), blob.bytes, blob.info.length);
        blob.bytes = space.data();
        flip_one_bit(space.first(blob.info.length));
    }
    turn.blobs[turn.count] = blob;
    turn.item_of[turn.count++] = item;
}

void CompressedTier::flush(Turn& turn, std::span<StoreOutcome> outcomes) {
    std::array<StoreHandle, pages_per_turn> handles{};
    const std::size_t stored = pool_->store(std::span{turn.blobs}.first(turn.count), handles);
    for (std::size_t i = 0; i < turn.count; ++i) {
        outcomes[turn.item_of[i]] =
            i < stored ? StoreOutcome{handles[i], std::nullopt} : StoreOutcome{{}, StoreFailure::full};
    }
    turn.count = 0;
}

StoreResult<BlobCopy> CompressedTier::copy_blob(StoreHandle handle, const PageOwner& owner, PageBytes out) const {
    const std::optional<BlobInfo> info = pool_->copy(handle, out);
    if (!info || info->page != owner.page) return corrupt_page(tier_name, owner);
    return BlobCopy{info->check, info->version, info->length, info->encoding};
}

StoreResult<> CompressedTier::load(StoreHandle handle, const PageOwner& owner, PageBytes out) const {
    std::array<std::byte, page_bytes> blob;
    const auto copy = copy_blob(handle, owner, blob);
    if (!copy) return std::unexpected{copy.error()};
    if (!decode_page(copy->encoding, std::span{blob}.first(copy->length), out) ||
        copy->check != page_check({owner.vm, owner.page, copy->version}, ConstPageBytes{out})) {
        return corrupt_page(tier_name, owner);
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
