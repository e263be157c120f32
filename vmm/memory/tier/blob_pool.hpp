// Stored blobs of up to a page in RAM. A blob's 16 bytes of metadata lie in front of it in its slot and a slab's 64
// bytes are shared by its slots: together under 20 bytes for a typical page, of which resident_bytes() counts the first
// part and bookkeeping_bytes() the second.
//
// Threads: everything may be called at once from any thread. A copy() of a handle that is freed or used again meanwhile
// is memory-safe: it answers nothing, or bytes whose check will not match. Double free is a broken promise.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "base/mapped_region.hpp"
#include "base/mutex.hpp"
#include "vmm/memory/tier/slab_heap.hpp"
#include "vmm/memory/tier/slab_table.hpp"
#include "vmm/memory/tier/tier.hpp"

namespace penumbra::vmm {

struct BlobInfo {
    std::uint64_t check = 0;
    std::uint32_t page = 0;     ///< page_index_bits
    std::uint32_t version = 0;  ///< page_version_bits
    std::uint16_t length = 0;
    Encoding encoding = Encoding::raw;
};

struct Blob {
    BlobInfo info;
    const std::byte* bytes = nullptr;  ///< info.length of them
};

/// A blob worth moving to a slower tier. A hint: another thread may drop or replace it, and one being stored right now
/// may show a `page` that is not its own, or none at all. The caller bounds `page` and compares its own page word.
struct OldBlob {
    StoreHandle handle{};
    std::uint64_t page = 0;
};

class BlobPool {
public:
    /// At most `maximum_bytes` are ever charged; set_limit() may ask for less. Nothing is reserved.
    [[nodiscard]] static Result<std::unique_ptr<BlobPool>> create(std::uint64_t maximum_bytes);

    /// Stores blobs in order until one finds no room; returns how many were stored. `handles` is as long as `blobs`.
    [[nodiscard]] std::size_t store(std::span<const Blob> blobs, std::span<StoreHandle> handles);
    /// Copies a blob's bytes out; nothing when the handle names no stored blob. The caller compares the check.
    [[nodiscard]] std::optional<BlobInfo> copy(StoreHandle handle, PageBytes out) const { return look(handle, out); }
    /// What is known of a blob without its bytes.
    [[nodiscard]] std::optional<BlobInfo> info(StoreHandle handle) const { return look(handle, {}); }
    void free(std::span<const StoreHandle> handles);
    /// Up to out.size() blobs, about oldest first and slab by slab, so that moving them frees whole slabs. Each call
    /// goes on where the last one ended: blobs the caller left in place come again only after all others.
    [[nodiscard]] std::size_t oldest(std::span<OldBlob> out);

    void set_limit(std::uint64_t bytes) {
        limit_.store(bytes < maximum_ ? bytes : maximum_, std::memory_order_relaxed);
    }
    [[nodiscard]] std::uint64_t limit() const { return limit_.load(std::memory_order_relaxed); }
    [[nodiscard]] std::uint64_t blobs() const { return blobs_.load(std::memory_order_relaxed); }
    /// Pool pages the kernel charges, by the 4 KiB.
    [[nodiscard]] std::uint64_t resident_bytes() const { return resident_.load(std::memory_order_relaxed); }
    /// Where the blobs lie.
    [[nodiscard]] HvpRange memory() const { return memory_.pages(); }
    /// Slab descriptors in use.
    [[nodiscard]] std::uint64_t bookkeeping_bytes() const { return table_.opened() * sizeof(Slab); }

private:
    struct Header;
    struct CopyLock {
        Mutex mutex{LockRank::leaf};
    };
    static constexpr std::size_t copy_locks = 32;
    static constexpr std::uint64_t generations_to_old = 2;

    BlobPool(std::uint64_t maximum, SlabTable table, MappedRegion memory);

    [[nodiscard]] std::byte* slot_address(SlotRef ref) const;
    [[nodiscard]] Mutex& copy_lock(std::uint32_t slab) const { return copy_locks_[slab % copy_locks].mutex; }
    /// Copies the bytes out as well where `out` is a page.
    [[nodiscard]] std::optional<BlobInfo> look(StoreHandle handle, std::span<std::byte> out) const;
    void write_blob(SlotRef ref, const Blob& blob, std::uint64_t generation);
    /// The generation of blobs stored now.
    std::uint64_t age_by(std::size_t stored) REQUIRES(mutex_);
    std::size_t collect_old(std::span<OldBlob> out) REQUIRES(mutex_);
    void publish_counts() REQUIRES(mutex_);

    const std::uint64_t maximum_;
    std::atomic<std::uint64_t> limit_;
    SlabTable table_;
    MappedRegion memory_;
    // Who gets which slot. Held for a few hundred instructions a blob, never while blobs are copied.
    mutable Mutex mutex_{LockRank::tier};
    SlabHeap heap_ GUARDED_BY(mutex_);
    std::uint32_t ageing_slab_ GUARDED_BY(mutex_) = no_slab;  // where oldest() goes on
    std::uint32_t ageing_slot_ GUARDED_BY(mutex_) = 0;
    std::uint64_t stores_ GUARDED_BY(mutex_) = 0;      // of the generation so far
    std::uint64_t generation_ GUARDED_BY(mutex_) = 0;  // a quarter as many stores as blobs are kept
    // A slab's bytes are read and written under its copy lock only.
    mutable std::array<CopyLock, copy_locks> copy_locks_;
    std::atomic<std::uint64_t> blobs_{0};
    std::atomic<std::uint64_t> resident_{0};
};

}  // namespace penumbra::vmm
