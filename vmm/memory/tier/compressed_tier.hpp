// The first tier: pages as compressed blobs in RAM. A page of 8 bytes repeated costs 24 bytes; so does each page after
// the first of several with the same contents.
//
// A blob's check is compared where the blob is decoded: a bit that flips in it is found by the load that needs it, not
// by the move to another tier.
//
// Threads: everything may be called at once from any thread; a thread that stores keeps a compressor of its own. A load
// or copy that races with a drop is memory-safe and answers `corrupt`, or some version of the owner's page: the caller
// looks at its page word again. Dropping a handle twice is a broken promise.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "vmm/memory/tier/blob_pool.hpp"
#include "vmm/memory/tier/page_codec.hpp"
#include "vmm/memory/tier/tier.hpp"

namespace penumbra::vmm {

/// What to do with a page whose blob would exceed CompressedTier::largest_blob.
enum class Incompressible : std::uint8_t { refuse, store_raw };

struct StoreItem {
    PageIdentity identity;
    const std::byte* page = nullptr;  ///< one page; not changed by anyone during the call
};

class CompressedTier {
public:
    static constexpr std::size_t largest_blob = 3072;

    /// `maximum_bytes` bounds every later limit; `limit` starts there.
    [[nodiscard]] static Result<CompressedTier> create(std::uint64_t maximum_bytes, Codec codec = Codec::lz4);

    [[nodiscard]] StoreResult<StoreHandle> store(const PageIdentity& identity, ConstPageBytes page,
                                                 Incompressible incompressible = Incompressible::refuse);
    /// Answers `stored`, `full` or `incompressible` for each item in `outcomes`, which is as long as `items`.
    void store_batch(std::span<const StoreItem> items, std::span<StoreOutcome> outcomes, Incompressible incompressible);
    /// Fills `out` with the page as it was stored, its check compared; `out` is spoilt where that fails.
    [[nodiscard]] StoreResult<> load(StoreHandle handle, const PageOwner& owner, PageBytes out) const;
    /// Whether the blob was made from exactly these contents: then it serves as the page's copy. Never true of a handle
    /// that stores another page. Decodes nothing.
    [[nodiscard]] bool matches(StoreHandle handle, const PageOwner& owner, ConstPageBytes page) const;
    /// Copies the stored form with its check, for a slower tier to keep as it is. The check is not compared.
    [[nodiscard]] StoreResult<BlobCopy> copy_blob(StoreHandle handle, const PageOwner& owner, PageBytes out) const;
    void drop(StoreHandle handle) { drop_batch({&handle, 1}); }
    void drop_batch(std::span<const StoreHandle> handles);
    /// As BlobPool::oldest().
    [[nodiscard]] std::size_t oldest(std::span<OldBlob> out) { return pool_->oldest(out); }
    /// As BlobPool::compact(). For a background pass, after pages were dropped.
    std::size_t compact(std::size_t most, const Relocate& relocate) { return pool_->compact(most, relocate); }

    /// In bytes of pool memory. A limit below what is stored drops nothing: stores that fit no hole already paid for
    /// answer `full` until enough has been dropped.
    void set_limit(std::uint64_t bytes) { pool_->set_limit(bytes); }
    [[nodiscard]] std::uint64_t limit() const { return pool_->limit(); }
    [[nodiscard]] Codec codec() const { return codec_; }
    [[nodiscard]] std::uint64_t pages() const { return pool_->pages(); }
    /// Of pages(), those that share another's blob.
    [[nodiscard]] std::uint64_t duplicates() const { return pool_->duplicates(); }
    /// Where the blobs lie.
    [[nodiscard]] HvpRange memory() const { return pool_->memory(); }
    /// RAM the tier costs now: pool pages the kernel charges and the pool's own bookkeeping.
    [[nodiscard]] std::uint64_t charged_bytes() const { return pool_->resident_bytes() + pool_->bookkeeping_bytes(); }

private:
    struct Turn;

    CompressedTier(std::unique_ptr<BlobPool> pool, Codec codec) : pool_(std::move(pool)), codec_(codec) {}

    void store_some(std::span<const StoreItem> items, std::span<StoreOutcome> outcomes, Incompressible incompressible);
    [[nodiscard]] std::optional<StoreHandle> share(const StoreItem& item, ContentHash contents);
    void encode(Turn& turn, std::size_t item, Incompressible incompressible);
    void flush(Turn& turn, std::span<StoreOutcome> outcomes);

    std::unique_ptr<BlobPool> pool_;
    Codec codec_;
};

}  // namespace penumbra::vmm
