#include "vmm/memory/slow_tiers.hpp"

#include <algorithm>
#include <array>

#include "base/assert.hpp"

namespace penumbra::vmm {

namespace {

/// Gives one tier those items that none has taken yet.
template <class Tier>
[[nodiscard]] StoreResult<> offer(Tier& tier, CopyTier name, std::span<const FileItem> items,
                                  std::span<SlowOutcome> outcomes) {
    std::array<FileItem, SlowTiers::most_items> left;
    std::array<std::size_t, SlowTiers::most_items> at{};
    std::array<StoreOutcome, SlowTiers::most_items> answers;
    std::size_t count = 0;
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (outcomes[i].stored()) continue;
        left[count] = items[i];
        at[count++] = i;
    }
    if (count == 0) return {};
    const StoreResult<> written = tier.write_batch(std::span{left.data(), count}, std::span{answers.data(), count});
    for (std::size_t n = 0; n < count; ++n) {
        if (answers[n].stored()) {
            outcomes[at[n]].copy = {name, answers[n].handle};
        } else {
            outcomes[at[n]].failure = *answers[n].failure;
        }
    }
    return written;
}

}  // namespace

StoreResult<> SlowTiers::write_batch(std::span<const FileItem> items, std::span<SlowOutcome> outcomes) {
    PENUMBRA_ASSERT(items.size() <= most_items && outcomes.size() >= items.size(), "a batch that is too long");
    StoreResult<> written;
    if (file_) written = offer(*file_, CopyTier::file, items, outcomes);
    // A file in trouble is trouble, to be told and cured; one that is full is what the store is for.
    const bool goes_on = !file_ || (!written && written.error().failure == StoreFailure::full);
    if (remote_ && goes_on) written = offer(*remote_, CopyTier::remote, items, outcomes);
    return written;
}

void SlowTiers::drop(PageCopy copy) {
    if (copy.tier == CopyTier::file) file_->drop(copy.handle);
    if (copy.tier == CopyTier::remote) remote_->drop(copy.handle);
}

bool SlowTiers::matches(PageCopy copy, const PageOwner& owner, ConstPageBytes page) const {
    if (copy.tier == CopyTier::file) return file_->matches(copy.handle, owner, page);
    return copy.tier == CopyTier::remote && remote_->matches(copy.handle, owner, page);
}

Result<std::unique_ptr<SlowReader>> SlowTiers::make_reader() {
    std::unique_ptr<FileReader> file;
    std::unique_ptr<RemoteReader> remote;
    if (file_) {
        PENUMBRA_TRY_ASSIGN(file, file_->make_reader());
    }
    if (remote_) {
        PENUMBRA_TRY_ASSIGN(remote, remote_->make_reader());
    }
    return std::make_unique<SlowReader>(std::move(file), std::move(remote));
}

StoreResult<> SlowReader::read(PageCopy copy, const PageOwner& owner, PageBytes out) {
    if (copy.tier == CopyTier::file) return file_->read(copy.handle, owner, out);
    return remote_->read(copy.handle, owner, out);
}

void SlowReader::read_batch(std::span<const Item> items, std::span<bool> filled) {
    PENUMBRA_ASSERT(items.size() <= depth && filled.size() >= items.size(), "a batch that is too long");
    std::ranges::fill(filled, false);
    const auto read_of = [&](CopyTier tier, auto& reader) {
        std::array<ReadItem, depth> wanted;
        std::array<StoreOutcome, depth> answers;
        std::array<std::size_t, depth> at{};
        std::size_t count = 0;
        for (std::size_t i = 0; i < items.size(); ++i) {
            if (items[i].copy.tier != tier) continue;
            wanted[count] = {items[i].copy.handle, items[i].owner, items[i].out};
            at[count++] = i;
        }
        if (count == 0) return;
        (void)reader->read_batch(std::span{wanted.data(), count}, std::span{answers.data(), count});
        for (std::size_t n = 0; n < count; ++n) filled[at[n]] = answers[n].stored();
    };
    read_of(CopyTier::file, file_);
    read_of(CopyTier::remote, remote_);
}

}  // namespace penumbra::vmm
