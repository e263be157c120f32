// Stored blobs of up to a page in RAM. A blob's 16 bytes of metadata lie in front of it in its slot, a slab's 64 bytes
// are shared by its slots, and the index of contents takes about 5 bytes for each blob: together under 24 bytes for a
// typical page, of which resident_bytes() counts the first part and bookkeeping_bytes() the others. A page whose
// contents are stored already costs 24 bytes and no blob (blob_header.hpp).
//
// Threads: everything may be called at once from any thread. A copy() of a handle that is freed or used again meanwhile
// is memory-safe: it answers nothing, or bytes whose check will not match. Double free is a broken promise.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>

#include "base/mapped_region.hpp"
#include "base/mutex.hpp"
#include "vmm/memory/tier/blob_header.hpp"
#include "vmm/memory/tier/content_index.hpp"
#include "vmm/memory/tier/slab_heap.hpp"
#include "vmm/memory/tier/slab_table.hpp"
#include "vmm/memory/tier/tier.hpp"

namespace penumbra::vmm {

/// Contents that other pages may share. Only pages of one VM do: that of the first blob that had such contents.
struct SharedContents {
    std::uint64_t vm = 0;
    ContentHash hash{};
};

struct Blob {
    BlobInfo info;
    const std::byte* bytes = nullptr;          ///< info.length of them
    std::optional<SharedContents> contents{};  ///< by which share() finds it; info.check was made of them
};

/// A blob worth moving to a slower tier. A hint: another thread may drop or replace it. The caller bounds `page` and
/// compares its own page word.
struct OldBlob {
    StoreHandle handle{};
    std::uint64_t page = 0;
};

/// Asked to replace handle `from` of a page by `to`, which stores the same. False when the page's handle is not `from`.
/// The caller bounds `page`. No lock is held.
using Relocate = std::function<bool(std::uint64_t page, StoreHandle from, StoreHandle to)>;

class BlobPool {
public:
    /// At most `maximum_bytes` are ever charged; set_limit() may ask for less. Nothing is reserved.
    [[nodiscard]] static Result<std::unique_ptr<BlobPool>> create(std::uint64_t maximum_bytes);

    /// Stores blobs in order until one finds no room; returns how many were stored. `handles` is as long as `blobs`.
    [[nodiscard]] std::size_t store(std::span<const Blob> blobs, std::span<StoreHandle> handles);
    /// Stores a page as a duplicate of a blob that seems to have the same contents, if there is one: the caller
    /// compares them, and frees the handle if they differ. `info` without length and encoding.
    [[nodiscard]] std::optional<StoreHandle> share(const SharedContents& contents, const BlobInfo& info);
    /// Copies a page's bytes out; nothing when the handle names no stored page. The caller compares the check.
    [[nodiscard]] std::optional<BlobInfo> copy(StoreHandle handle, PageBytes out) const;
    /// What is known of a page without its bytes; of duplicates neither length nor encoding.
    [[nodiscard]] std::optional<BlobInfo> info(StoreHandle handle) const;
    void free(std::span<const StoreHandle> handles);
    /// Up to out.size() blobs, about oldest first and slab by slab, so that moving them frees whole slabs. Each call
    /// goes on where the last one ended: blobs the caller left in place come again only after all others. Pages that
    /// cost next to nothing where they are come only when there are no others.
    [[nodiscard]] std::size_t oldest(std::span<OldBlob> out);
    /// Empties sparse slabs into others, if holes between blobs take a twentieth of the memory: up to `most` blobs get
    /// another handle, by `relocate`. Answers how many did; 0 where nothing is worth it, or another thread is at it.
    std::size_t compact(std::size_t most, const Relocate& relocate);

    void set_limit(std::uint64_t bytes) {
        limit_.store(bytes < maximum_ ? bytes : maximum_, std::memory_order_relaxed);
    }
    [[nodiscard]] std::uint64_t limit() const { return limit_.load(std::memory_order_relaxed); }
    /// Pages stored.
    [[nodiscard]] std::uint64_t pages() const { return pages_.load(std::memory_order_relaxed); }
    /// Pages stored as duplicates of another page, or of one that is gone.
    [[nodiscard]] std::uint64_t duplicates() const { return duplicates_.load(std::memory_order_relaxed); }
    /// Pool pages the kernel charges, by the 4 KiB.
    [[nodiscard]] std::uint64_t resident_bytes() const { return resident_.load(std::memory_order_relaxed); }
    /// Where the blobs lie.
    [[nodiscard]] HvpRange memory() const { return memory_.pages(); }
    /// Slab descriptors in use and the index.
    [[nodiscard]] std::uint64_t bookkeeping_bytes() const {
        return table_.opened() * sizeof(Slab) + index_bytes_.load(std::memory_order_relaxed);
    }

private:
    struct CopyLock {
        Mutex mutex{LockRank::leaf};
    };
    /// A blob on its way to another slot. Both stay taken until it is there.
    struct Move {
        SlotRef from;
        SlotRef to;
        bool from_dropped = false;
        bool to_dropped = false;
        bool done = false;
    };
    struct Found {
        BlobHeader header;
        SlabClass shape;
        SharedRecord record;  // of a record
    };
    enum class Scan : std::uint8_t { blobs, everything };
    static constexpr std::size_t copy_locks = 32;
    static constexpr std::size_t most_moves = 32;
    static constexpr std::uint64_t generations_to_old = 2;

    BlobPool(std::uint64_t maximum, SlabTable table, MappedRegion memory, ContentIndex index);

    [[nodiscard]] std::byte* slot_address(SlotRef ref) const;
    [[nodiscard]] Mutex& copy_lock(std::uint32_t slab) const { return copy_locks_[slab % copy_locks].mutex; }
    /// What a slot holds; its bytes too, where `out` is a page. Nothing when it is not taken, or not written yet.
    [[nodiscard]] std::optional<Found> look(SlotRef ref, std::span<std::byte> out) const;
    [[nodiscard]] BlobHeader header_at(SlotRef ref) const;
    [[nodiscard]] SharedRecord record_at(SlotRef ref) const;
    void write_header(SlotRef ref, const BlobHeader& header);
    void set_state(SlotRef ref, BlobState state) REQUIRES(mutex_);
    void set_record(SlotRef ref, const SharedRecord& record) REQUIRES(mutex_);
    void write_blob(SlotRef ref, const Blob& blob, std::uint64_t generation);
    /// The generation of blobs stored now.
    std::uint64_t age_by(std::size_t stored) REQUIRES(mutex_);

    [[nodiscard]] bool can_be_shared(SlotRef ref) const { return ref.slab < most_shared_slabs_; }
    [[nodiscard]] std::optional<SlotRef> find_contents(ContentHash hash) const REQUIRES(mutex_);
    void index_contents(SlotRef ref, const SharedContents& contents) REQUIRES(mutex_);
    void put_in_index(ContentHash hash, std::uint32_t ref) REQUIRES(mutex_);
    void forget_contents(SlotRef ref, const BlobHeader& header) REQUIRES(mutex_);
    void drop_page(SlotRef ref) REQUIRES(mutex_);
    void drop_record(SlotRef ref, const BlobHeader& header) REQUIRES(mutex_);
    void end_sharing(SlotRef blob, SlotRef anchor, const BlobHeader& last) REQUIRES(mutex_);
    void release(SlotRef ref) REQUIRES(mutex_);

    std::size_t scan_old(std::span<OldBlob> out, Scan scan) REQUIRES(mutex_);
    std::size_t collect_old(std::span<OldBlob> out, Scan scan) REQUIRES(mutex_);

    [[nodiscard]] Move* move_of(SlotRef ref) REQUIRES(mutex_);
    [[nodiscard]] bool is_moving(SlotRef ref) const REQUIRES(mutex_);
    std::size_t plan_moves(std::size_t most) REQUIRES(mutex_);
    void plan_moves_from(std::uint32_t slab, std::size_t most) REQUIRES(mutex_);
    [[nodiscard]] std::optional<std::uint32_t> copy_to(SlotRef from, SlotRef to);
    std::size_t finish_moves(std::span<const Move> moved);
    void publish_counts() REQUIRES(mutex_);

    const std::uint64_t maximum_;
    std::atomic<std::uint64_t> limit_;
    SlabTable table_;
    MappedRegion memory_;
    const std::uint32_t most_shared_slabs_;
    // Who gets which slot, and who shares what. Held for a few hundred instructions a blob, never while blobs are
    // copied.
    mutable Mutex mutex_{LockRank::tier};
    SlabHeap heap_ GUARDED_BY(mutex_);
    ContentIndex index_ GUARDED_BY(mutex_);
    std::optional<std::uint64_t> vm_ GUARDED_BY(mutex_);      // whose pages the index knows
    std::uint32_t ageing_slab_ GUARDED_BY(mutex_) = no_slab;  // where oldest() goes on
    std::uint32_t ageing_slot_ GUARDED_BY(mutex_) = 0;
    std::uint64_t looked_at_ GUARDED_BY(mutex_) = 0;   // by oldest(), since the generation last ended there
    std::uint64_t stores_ GUARDED_BY(mutex_) = 0;      // of the generation so far
    std::uint64_t generation_ GUARDED_BY(mutex_) = 0;  // a quarter as many stores as blobs are kept
    std::array<Move, most_moves> moves_ GUARDED_BY(mutex_);
    std::size_t moving_ GUARDED_BY(mutex_) = 0;
    // A slab's bytes are read and written under its copy lock only.
    mutable std::array<CopyLock, copy_locks> copy_locks_;
    std::atomic<std::uint64_t> pages_{0};
    std::atomic<std::uint64_t> duplicates_{0};
    std::atomic<std::uint64_t> resident_{0};
    std::atomic<std::uint64_t> index_bytes_{0};
};

}  // namespace penumbra::vmm
