#include "vmm/memory/tier/blob_pool.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace penumbra::vmm {

namespace {

constexpr unsigned slack_bits = 9;  // of how much of its slot a blob leaves
constexpr unsigned encoding_bits = 4;
constexpr unsigned age_bits = 3;
static_assert(page_index_bits + page_version_bits + slack_bits + encoding_bits + age_bits == 64);
constexpr std::size_t blobs_per_lock = 32;  // how many a single hold of the pool's lock places
// Partly filled slabs cost address space although the kernel does not charge for it.
constexpr std::uint64_t address_space_factor = 4;
constexpr std::uint64_t spare_slabs = 2 * slab_class_count;

[[nodiscard]] constexpr std::uint64_t low_bits(std::uint64_t value, unsigned bits) {
    return value & ((std::uint64_t{1} << bits) - 1);
}

[[nodiscard]] StoreHandle handle_of(SlotRef ref) {
    return StoreHandle{std::uint64_t{ref.slab} << slot_index_bits | ref.slot};
}

[[nodiscard]] SlotRef slot_of(StoreHandle handle) {
    const auto value = static_cast<std::uint64_t>(handle);
    return {static_cast<std::uint32_t>(value >> slot_index_bits), static_cast<std::uint32_t>(value % max_slots)};
}

}  // namespace

/// In front of every blob: the check, then page index, version, length, encoding and a coarse time of storing. The
/// length is kept as what is left of the slot, whose size the slab knows.
struct BlobPool::Header {
    std::uint64_t check;
    std::uint64_t packed;

    [[nodiscard]] static Header of(const BlobInfo& info, const SlabClass& shape, std::uint64_t generation) {
        std::uint64_t packed = low_bits(generation, age_bits);
        packed = packed << encoding_bits | static_cast<std::uint64_t>(info.encoding);
        packed = packed << slack_bits | (shape.slot_bytes - sizeof(Header) - info.length);
        packed = packed << page_version_bits | low_bits(info.version, page_version_bits);
        return {info.check, packed << page_index_bits | info.page};
    }
    /// How many generations ago it was stored, modulo the few that are told apart.
    [[nodiscard]] std::uint64_t age(std::uint64_t generation) const {
        return low_bits(generation - (packed >> (64 - age_bits)), age_bits);
    }
    [[nodiscard]] std::uint32_t page() const { return static_cast<std::uint32_t>(low_bits(packed, page_index_bits)); }
    /// Nothing when the length does not fit the slot: a slab that was cut anew meanwhile.
    [[nodiscard]] std::optional<BlobInfo> info(const SlabClass& shape) const {
        const std::uint64_t version = low_bits(packed >> page_index_bits, page_version_bits);
        const std::uint64_t slack = low_bits(packed >> (page_index_bits + page_version_bits), slack_bits);
        const std::uint64_t encoding = low_bits(packed >> (64 - age_bits - encoding_bits), encoding_bits);
        const std::uint64_t room = shape.slot_bytes - sizeof(Header);
        if (slack >= room || room - slack > page_bytes) return std::nullopt;
        return BlobInfo{check, page(), static_cast<std::uint32_t>(version), static_cast<std::uint16_t>(room - slack),
                        static_cast<Encoding>(encoding)};
    }
};

Result<std::unique_ptr<BlobPool>> BlobPool::create(std::uint64_t maximum_bytes) {
    const std::uint64_t slabs = maximum_bytes / slab_bytes * address_space_factor + spare_slabs;
    if (slabs >> (store_handle_bits - slot_index_bits) != 0) {
        return fail("make a compressed page pool", std::to_string(maximum_bytes) + " bytes", "ask for 4 TiB at most");
    }
    PENUMBRA_TRY_ASSIGN(auto memory, MappedRegion::anonymous(slabs * slab_bytes));
    PENUMBRA_TRY_ASSIGN(auto table, SlabTable::create(static_cast<std::uint32_t>(slabs)));
    return std::unique_ptr<BlobPool>{new BlobPool(maximum_bytes, std::move(table), std::move(memory))};
}

BlobPool::BlobPool(std::uint64_t maximum, SlabTable table, MappedRegion memory)
    : maximum_(maximum),
      limit_(maximum),
      table_(std::move(table)),
      memory_(std::move(memory)),
      heap_(table_, memory_) {}

std::byte* BlobPool::slot_address(SlotRef ref) const {
    return memory_.data() + ref.slab * slab_bytes + std::size_t{ref.slot} * table_[ref.slab].shape().slot_bytes;
}

void BlobPool::write_blob(SlotRef ref, const Blob& blob, std::uint64_t generation) {
    const Header header = Header::of(blob.info, table_[ref.slab].shape(), generation);
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
                const auto ref = heap_.take(sizeof(Header) + info.length, limit());
                if (!ref) break;
                refs[placed] = *ref;
            }
            publish_counts();
            generation = age_by(placed);
        }
        for (std::size_t i = 0; i < placed; ++i) {
            write_blob(refs[i], part[i], generation);
            handles[stored + i] = handle_of(refs[i]);
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

std::optional<BlobInfo> BlobPool::look(StoreHandle handle, std::span<std::byte> out) const {
    const SlotRef ref = slot_of(handle);
    if (ref.slab >= table_.opened()) return std::nullopt;
    const Slab& slab = table_[ref.slab];
    const MutexLock lock{copy_lock(ref.slab)};
    // The class is read once: the slab may be cut anew meanwhile, and the bounds below must fit the address used.
    const SlabClass shape = slab.shape();
    if (ref.slot >= shape.slots || !slab.is_taken(ref.slot)) return std::nullopt;
    const std::byte* from = memory_.data() + ref.slab * slab_bytes + std::size_t{ref.slot} * shape.slot_bytes;
    Header header{};
    std::memcpy(&header, from, sizeof header);
    const std::optional<BlobInfo> info = header.info(shape);
    if (info && !out.empty()) std::memcpy(out.data(), from + sizeof header, info->length);
    return info;
}

void BlobPool::free(std::span<const StoreHandle> handles) {
    for (std::size_t at = 0; at < handles.size(); at += blobs_per_lock) {
        const auto part = handles.subspan(at, std::min(handles.size() - at, blobs_per_lock));
        const MutexLock lock{mutex_};
        for (const StoreHandle handle : part) heap_.release(slot_of(handle));
        publish_counts();
    }
}

std::size_t BlobPool::oldest(std::span<OldBlob> out) {
    const MutexLock lock{mutex_};
    std::size_t found = 0;
    for (std::uint32_t seen = 0; seen < table_.opened() && found < out.size(); ++seen) {
        const std::uint32_t slab = heap_.oldest_slab();
        if (slab == no_slab) break;
        if (slab != ageing_slab_) ageing_slot_ = 0;
        ageing_slab_ = slab;
        found += collect_old(out.subspan(found));
        if (ageing_slot_ >= table_[slab].shape().slots) {
            heap_.rejuvenate(slab);
            ageing_slab_ = no_slab;
        }
    }
    return found;
}

std::size_t BlobPool::collect_old(std::span<OldBlob> out) {
    // Holes in old slabs are filled with young blobs. Those of the younger half stay: at least half always qualify, but
    // for the few that have grown so old that they look young again.
    const Slab& slab = table_[ageing_slab_];
    const MutexLock lock{copy_lock(ageing_slab_)};
    std::size_t found = 0;
    for (; ageing_slot_ < slab.shape().slots && found < out.size(); ++ageing_slot_) {
        if (!slab.is_taken(ageing_slot_)) continue;
        const SlotRef ref{ageing_slab_, ageing_slot_};
        Header header{};
        std::memcpy(&header, slot_address(ref), sizeof header);
        if (header.age(generation_) < generations_to_old) continue;
        out[found++] = {handle_of(ref), header.page()};
    }
    return found;
}

void BlobPool::publish_counts() {
    blobs_.store(heap_.slots_taken(), std::memory_order_relaxed);
    resident_.store(heap_.resident_bytes(), std::memory_order_relaxed);
}

}  // namespace penumbra::vmm
