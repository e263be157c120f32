#include "vmm/memory/tier/blob_pool.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace penumbra::vmm {

namespace {

constexpr std::size_t blobs_per_lock = 32;  // how many a single hold of the pool's lock places
// Partly filled slabs cost address space although the kernel does not charge for it.
constexpr std::uint64_t address_space_factor = 4;
constexpr std::uint64_t spare_slabs = 2 * slab_class_count;
constexpr std::uint64_t most_slabs_to_share = (std::uint64_t{1} << (32 - slot_index_bits)) - 1;
constexpr std::uint64_t blobs_found_per_slab = 64;  // of blobs under 1 KiB not all

}  // namespace

Result<std::unique_ptr<BlobPool>> BlobPool::create(std::uint64_t maximum_bytes) {
    const std::uint64_t slabs = maximum_bytes / slab_bytes * address_space_factor + spare_slabs;
    if (slabs >> (store_handle_bits - slot_index_bits) != 0) {
        return fail("make a compressed page pool", std::to_string(maximum_bytes) + " bytes", "ask for 4 TiB at most");
    }
    PENUMBRA_TRY_ASSIGN(auto memory, MappedRegion::anonymous(slabs * slab_bytes));
    PENUMBRA_TRY_ASSIGN(auto table, SlabTable::create(static_cast<std::uint32_t>(slabs)));
    const auto slab_bits = static_cast<unsigned>(std::bit_width(std::min(slabs, most_slabs_to_share)));
    const std::uint64_t most_found = maximum_bytes / slab_bytes * blobs_found_per_slab;
    PENUMBRA_TRY_ASSIGN(auto index, ContentIndex::create(most_found, slab_bits + slot_index_bits));
    return std::unique_ptr<BlobPool>{
        new BlobPool(maximum_bytes, std::move(table), std::move(memory), std::move(index))};
}

BlobPool::BlobPool(std::uint64_t maximum, SlabTable table, MappedRegion memory, ContentIndex index)
    : maximum_(maximum),
      limit_(maximum),
      table_(std::move(table)),
      memory_(std::move(memory)),
      most_shared_slabs_(static_cast<std::uint32_t>(std::min<std::uint64_t>(table_.capacity(), most_slabs_to_share))),
      heap_(table_, memory_),
      index_(std::move(index)) {}

std::byte* BlobPool::slot_address(SlotRef ref) const {
    return memory_.data() + ref.slab * slab_bytes + std::size_t{ref.slot} * table_[ref.slab].shape().slot_bytes;
}

void BlobPool::write_header(SlotRef ref, const BlobHeader& header) {
    const MutexLock lock{copy_lock(ref.slab)};
    std::memcpy(slot_address(ref), &header, sizeof header);
}

void BlobPool::write_blob(SlotRef ref, const Blob& blob, std::uint64_t generation) {
    const BlobHeader header{blob.info, BlobState::owned, table_[ref.slab].shape(), generation};
    const MutexLock lock{copy_lock(ref.slab)};
    std::byte* to = slot_address(ref);
    std::memcpy(to, &header, sizeof header);
    std::memcpy(to + sizeof header, blob.bytes, blob.info.length);
}

std::size_t BlobPool::store(std::span<const Blob> blobs, std::span<StoreHandle> handles) {
    PENUMBRA_ASSERT(handles.size() >= blobs.size(), "a handle for every blob");
    std::array<SlotRef, blobs_per_lock> refs;
    std::size_t stored = 0;
    for (bool room = true; room && stored < blobs.size();) {
        const auto part = blobs.subspan(stored, std::min(blobs.size() - stored, blobs_per_lock));
        std::size_t placed = 0;
        std::uint64_t generation = 0;
        {
            const MutexLock lock{mutex_};
            for (; placed < part.size(); ++placed) {
                const BlobInfo& info = part[placed].info;
                PENUMBRA_ASSERT(info.length > 0 && info.length <= page_bytes, "a blob of one byte to a page");
                PENUMBRA_ASSERT(info.page >> page_index_bits == 0, "page index too large to store");
                const auto ref = heap_.take(blob_header_bytes + info.length, limit());
                if (!ref) break;
                refs[placed] = *ref;
            }
            generation = age_by(placed);
            publish_counts();
        }
        for (std::size_t i = 0; i < placed; ++i) {
            write_blob(refs[i], part[i], generation);
            handles[stored + i] = handle_of(refs[i]);
        }
        {
            const MutexLock lock{mutex_};
            for (std::size_t i = 0; i < placed; ++i) {
                if (part[i].contents) index_contents(refs[i], *part[i].contents);
            }
            pages_.fetch_add(placed, std::memory_order_relaxed);
            publish_counts();
        }
        stored += placed;
        room = placed == part.size();
    }
    return stored;
}

std::uint64_t BlobPool::age_by(std::size_t stored) {
    stores_ += stored;
    if (stores_ >= std::max(heap_.slots_taken() / generations_to_old / 2, std::uint64_t{1})) {
        stores_ = 0;
        ++generation_;
    }
    return generation_;
}

std::optional<BlobPool::Found> BlobPool::look(SlotRef ref, std::span<std::byte> out) const {
    if (ref.slab >= table_.opened()) return std::nullopt;
    const Slab& slab = table_[ref.slab];
    const MutexLock lock{copy_lock(ref.slab)};
    // The class is read once: the slab may be cut anew meanwhile, and the bounds below must fit the address used.
    Found found;
    found.shape = slab.shape();
    if (ref.slot >= found.shape.slots || !slab.is_taken(ref.slot)) return std::nullopt;
    const std::byte* from = memory_.data() + ref.slab * slab_bytes + std::size_t{ref.slot} * found.shape.slot_bytes;
    std::memcpy(&found.header, from, sizeof found.header);
    const BlobState state = found.header.state();
    if (state == BlobState::empty) return std::nullopt;
    if (is_record(state)) {
        if (found.shape.slot_bytes != record_bytes) return std::nullopt;
        std::memcpy(&found.record, from + sizeof found.header, sizeof found.record);
    } else if (!out.empty()) {
        const std::optional<BlobInfo> info = found.header.info(found.shape);
        if (!info) return std::nullopt;
        std::memcpy(out.data(), from + sizeof found.header, info->length);
    }
    return found;
}

std::optional<BlobInfo> BlobPool::info(StoreHandle handle) const {
    const std::optional<Found> found = look(slot_of(handle), {});
    if (!found) return std::nullopt;
    const BlobState state = found->header.state();
    if (state == BlobState::orphan || state == BlobState::dead_anchor) return std::nullopt;
    return found->header.info(found->shape);
}

std::optional<BlobInfo> BlobPool::copy(StoreHandle handle, PageBytes out) const {
    const std::optional<Found> found = look(slot_of(handle), out);
    if (!found) return std::nullopt;
    const BlobState state = found->header.state();
    if (state == BlobState::orphan || state == BlobState::dead_anchor) return std::nullopt;
    std::optional<BlobInfo> info = found->header.info(found->shape);
    if (!info || !is_record(state)) return info;
    // A record that stays leads to a blob that stays; what a stale one leads to fails its check.
    const std::optional<Found> blob = look(slot_of(StoreHandle{found->record.blob}), out);
    if (!blob || is_record(blob->header.state())) return std::nullopt;
    const std::optional<BlobInfo> shared = blob->header.info(blob->shape);
    if (!shared) return std::nullopt;
    info->length = shared->length;
    info->encoding = shared->encoding;
    return info;
}

void BlobPool::free(std::span<const StoreHandle> handles) {
    for (std::size_t at = 0; at < handles.size(); at += blobs_per_lock) {
        const auto part = handles.subspan(at, std::min(handles.size() - at, blobs_per_lock));
        const MutexLock lock{mutex_};
        for (const StoreHandle handle : part) drop_page(slot_of(handle));
        publish_counts();
    }
}

void BlobPool::publish_counts() {
    resident_.store(heap_.resident_bytes(), std::memory_order_relaxed);
    index_bytes_.store(index_.resident_bytes(), std::memory_order_relaxed);
}

}  // namespace penumbra::vmm
