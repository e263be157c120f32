// The part of BlobPool that lets pages share blobs. blob_header.hpp draws the states.
#include <cstring>

#include "base/planted.hpp"
#include "vmm/memory/tier/blob_pool.hpp"

namespace penumbra::vmm {

namespace {

constexpr unsigned most_displaced = 8;  // steps for one blob

[[nodiscard]] std::uint32_t ref_of(SlotRef slot) { return static_cast<std::uint32_t>(handle_of(slot)); }
[[nodiscard]] SlotRef slot_of_ref(std::uint32_t ref) { return slot_of(StoreHandle{ref}); }

}  // namespace

BlobHeader BlobPool::header_at(SlotRef ref) const {
    BlobHeader header;
    const MutexLock lock{copy_lock(ref.slab)};
    std::memcpy(&header, slot_address(ref), sizeof header);
    return header;
}

SharedRecord BlobPool::record_at(SlotRef ref) const {
    SharedRecord record;
    const MutexLock lock{copy_lock(ref.slab)};
    std::memcpy(&record, slot_address(ref) + sizeof(BlobHeader), sizeof record);
    return record;
}

void BlobPool::set_state(SlotRef ref, BlobState state) {
    BlobHeader header = header_at(ref);
    header.set_state(state);
    write_header(ref, header);
}

void BlobPool::set_record(SlotRef ref, const SharedRecord& record) {
    const MutexLock lock{copy_lock(ref.slab)};
    std::memcpy(slot_address(ref) + sizeof(BlobHeader), &record, sizeof record);
}

std::optional<SlotRef> BlobPool::find_contents(ContentHash hash) const {
    const ContentIndex::References candidates = index_.find(hash);
    for (const std::uint32_t ref : candidates.list()) {
        const SlotRef slot = slot_of_ref(ref);
        if (header_at(slot).contents(*vm_) == hash && !is_moving(slot)) return slot;
    }
    return std::nullopt;
}

void BlobPool::index_contents(SlotRef ref, const SharedContents& contents) {
    if (!vm_) vm_ = contents.vm;
    // Another thread may have stored the same meanwhile: then this one is found by nobody.
    if (*vm_ != contents.vm || !can_be_shared(ref) || find_contents(contents.hash)) return;
    const ContentIndex::References again = index_.grow();
    for (const std::uint32_t other : again.list()) put_in_index(header_at(slot_of_ref(other)).contents(*vm_), other);
    put_in_index(contents.hash, ref_of(ref));
}

void BlobPool::put_in_index(ContentHash hash, std::uint32_t ref) {
    std::optional<std::uint32_t> displaced = index_.insert(hash, ref);
    for (unsigned step = 0; displaced && step < most_displaced; ++step) {
        displaced = index_.insert(header_at(slot_of_ref(*displaced)).contents(*vm_), *displaced);
    }
}

void BlobPool::forget_contents(SlotRef ref, const BlobHeader& header) {
    if (vm_ && can_be_shared(ref)) index_.remove(header.contents(*vm_), ref_of(ref));
}

std::optional<StoreHandle> BlobPool::share(const SharedContents& contents, const BlobInfo& info) {
    const MutexLock lock{mutex_};
    if (vm_ != contents.vm) return std::nullopt;
    const std::optional<SlotRef> found = find_contents(contents.hash);
    if (!found) return std::nullopt;
    const std::optional<SlotRef> record = heap_.take(record_bytes, limit());
    if (!record) return std::nullopt;
    if (!can_be_shared(*record)) {
        heap_.release(*record);
        return std::nullopt;
    }
    BlobInfo own = info;
    own.length = sizeof(SharedRecord);
    BlobState state = BlobState::anchor;
    if (is_record(header_at(*found).state())) {
        SharedRecord anchor = record_at(*found);
        ++anchor.anchor_or_count;
        set_record(*found, anchor);
        set_record(*record, {anchor.blob, ref_of(*found)});
        state = BlobState::duplicate;
    } else {
        set_state(*found, BlobState::shared);
        set_record(*record, {ref_of(*found), 1});
        index_.replace(contents.hash, ref_of(*found), ref_of(*record));
    }
    write_header(*record, {own, state, table_[record->slab].shape(), age_by(1)});
    pages_.fetch_add(1, std::memory_order_relaxed);
    duplicates_.fetch_add(1, std::memory_order_relaxed);
    publish_counts();
    return handle_of(*record);
}

void BlobPool::drop_page(SlotRef ref) {
    PENUMBRA_ASSERT(
        ref.slab < table_.opened() && ref.slot < table_[ref.slab].shape().slots && table_[ref.slab].is_taken(ref.slot),
        "release of a blob that is not stored");
    const BlobHeader header = header_at(ref);
    switch (header.state()) {
        case BlobState::owned:
            forget_contents(ref, header);
            release(ref);
            break;
        case BlobState::shared:
            if (planted(Plant::free_shared_early)) {
                release(ref);
            } else {
                set_state(ref, BlobState::orphan);
            }
            break;
        case BlobState::duplicate:
        case BlobState::anchor:
            drop_record(ref, header);
            break;
        case BlobState::empty:
        case BlobState::orphan:
        case BlobState::dead_anchor:
            assertion_failed("a stored page", __FILE__, __LINE__, "release of a blob that is not stored");
    }
    pages_.fetch_sub(1, std::memory_order_relaxed);
}

void BlobPool::drop_record(SlotRef ref, const BlobHeader& header) {
    duplicates_.fetch_sub(1, std::memory_order_relaxed);
    const bool is_anchor = header.state() == BlobState::anchor;
    const SlotRef anchor_ref = is_anchor ? ref : slot_of_ref(record_at(ref).anchor_or_count);
    SharedRecord anchor = record_at(anchor_ref);
    --anchor.anchor_or_count;
    set_record(anchor_ref, anchor);
    if (!is_anchor) release(ref);
    if (anchor.anchor_or_count == 0) {
        end_sharing(slot_of_ref(anchor.blob), anchor_ref, header);
    } else if (is_anchor) {
        set_state(ref, BlobState::dead_anchor);
    }
}

void BlobPool::end_sharing(SlotRef blob, SlotRef anchor, const BlobHeader& last) {
    const ContentHash contents = last.contents(*vm_);
    if (header_at(blob).state() == BlobState::orphan) {
        index_.remove(contents, ref_of(anchor));
        release(blob);
    } else {
        set_state(blob, BlobState::owned);
        index_.replace(contents, ref_of(anchor), ref_of(blob));
    }
    release(anchor);
}

void BlobPool::release(SlotRef ref) {
    if (Move* move = move_of(ref); move != nullptr && move->from == ref) {
        move->from_dropped = true;  // its slot stays taken until the move has seen it
        return;
    }
    if (Move* move = move_of(ref); move != nullptr) move->to_dropped = true;
    write_header(ref, {});
    heap_.release(ref);
}

}  // namespace penumbra::vmm
