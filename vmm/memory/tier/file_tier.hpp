// The second tier: pages in 4 KiB slots of a swap file. Blobs from compressed memory are kept as they are.
//
// Threads: one thread writes at a time; drops, counters and any number of Readers, one thread each, go on beside it. A
// read that races with a drop is safe and answers `corrupt`, or some version of the owner's page: the caller looks at
// its page word again. No lock is held across I/O. Readers end before the tier.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/mutex.hpp"
#include "vmm/memory/tier/io_ring.hpp"
#include "vmm/memory/tier/page_check.hpp"
#include "vmm/memory/tier/slot_allocator.hpp"
#include "vmm/memory/tier/swap_file.hpp"
#include "vmm/memory/tier/tier.hpp"

namespace penumbra::vmm {

struct FileTierOptions {
    std::string path;                  ///< see SwapFile::open
    std::uint64_t capacity_bytes = 0;  ///< the file never grows beyond
    IoMode io = IoMode::io_uring;      ///< what to try first
};

/// A page in stored form, for write_batch. The check is kept as it is, and compared when the page is read.
struct FileItem {
    PageIdentity identity;
    std::uint64_t check = 0;           ///< page_check() of the contents
    const std::byte* bytes = nullptr;  ///< `length` of them
    std::uint16_t length = 0;          ///< 1 to 4096
    Encoding encoding = Encoding::raw;

    /// A page as it is, its check taken here.
    [[nodiscard]] static FileItem of_page(const PageIdentity& identity, ConstPageBytes page) {
        return {identity, page_check(identity, page), page.data(), page_bytes, Encoding::raw};
    }
    /// What CompressedTier::copy_blob gave, its bytes at `bytes`.
    [[nodiscard]] static FileItem of_blob(const PageOwner& owner, const BlobCopy& blob, const std::byte* bytes) {
        return {{owner.vm, owner.page, blob.version}, blob.check, bytes, blob.length, blob.encoding};
    }
};

class FileReader;

class FileTier {
public:
    using Reader = FileReader;
    static constexpr std::size_t slots_per_write = 64;  ///< 256 KiB: what one write carries at most

    [[nodiscard]] static Result<std::unique_ptr<FileTier>> create(const FileTierOptions& options);

    /// Returns when the pages can be read back. `outcomes`, as long as `items`, says which were stored; the result is
    /// the first failure in full words. Pages already stored are never harmed by a failure.
    [[nodiscard]] StoreResult<> write_batch(std::span<const FileItem> items, std::span<StoreOutcome> outcomes);
    void drop(StoreHandle handle) { drop_batch({&handle, 1}); }
    void drop_batch(std::span<const StoreHandle> handles);
    /// Whether the slot was written from exactly these contents. Never true of a handle that stores another page. No
    /// I/O.
    [[nodiscard]] bool matches(StoreHandle handle, const PageOwner& owner, ConstPageBytes page) const;
    /// One for each thread that reads.
    [[nodiscard]] Result<std::unique_ptr<FileReader>> make_reader();

    [[nodiscard]] std::uint64_t pages() const { return pages_.load(std::memory_order_relaxed); }
    [[nodiscard]] std::uint64_t capacity_bytes() const { return capacity_slots_ << page_shift; }
    /// What the file has grown to.
    [[nodiscard]] std::uint64_t file_bytes() const;
    /// RAM for slot descriptors and the free map.
    [[nodiscard]] std::uint64_t bookkeeping_bytes() const;
    /// Registered buffers of the writer and all readers; at most 2 MiB.
    [[nodiscard]] std::uint64_t io_buffer_bytes() const { return registered_.load(std::memory_order_relaxed); }
    [[nodiscard]] IoMode mode() const { return writer_.mode(); }
    [[nodiscard]] CacheMode cache_mode() const { return file_.cache_mode(); }
    [[nodiscard]] const std::string& path() const { return file_.path(); }

private:
    friend class FileReader;
    /// In RAM for every slot.
    struct Slot {
        std::uint64_t check = 0;
        std::uint64_t page : page_index_bits = 0;
        std::uint64_t version : page_version_bits = 0;
        std::uint64_t length_less_one : page_shift = 0;
        std::uint64_t encoding : 3 = 0;
        std::uint64_t stored : 1 = 0;

        [[nodiscard]] static Slot of(const FileItem& item);
        [[nodiscard]] std::size_t length() const { return std::size_t{length_less_one} + 1; }
    };
    static_assert(sizeof(Slot) == 16);
    struct Round;

    FileTier(SwapFile file, IoRing writer, MappedRegion slots, std::uint64_t capacity_slots);

    [[nodiscard]] SlotRun take_run(std::uint64_t wanted);
    [[nodiscard]] Result<> grow();
    [[nodiscard]] Slot* slots() const { return reinterpret_cast<Slot*>(slot_memory_.data()); }
    [[nodiscard]] Result<> plan(Round& round);
    void fill(Round& round);
    [[nodiscard]] StoreResult<> commit(const Round& round);
    /// What the file holds at `handle` now; nothing when it holds nothing.
    void look_up(std::span<const StoreHandle> handles, std::span<std::optional<Slot>> found) const;
    [[nodiscard]] StoreError io_error(std::string act, int error_number) const;

    SwapFile file_;
    IoRing writer_;
    const std::uint64_t capacity_slots_;
    MappedRegion slot_memory_;  // capacity_slots_ of Slot, its contents guarded by mutex_
    mutable Mutex mutex_{LockRank::file_io};
    SlotAllocator allocator_ GUARDED_BY(mutex_);
    std::atomic<std::uint64_t> pages_{0};
    std::atomic<std::uint64_t> registered_{0};
};

}  // namespace penumbra::vmm
