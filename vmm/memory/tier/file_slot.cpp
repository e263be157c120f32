// What a file tier keeps in RAM of each slot.
#include <optional>

#include "base/planted.hpp"
#include "vmm/memory/tier/file_tier.hpp"
#include "vmm/memory/tier/page_check.hpp"

namespace penumbra::vmm {

FileTier::Slot FileTier::Slot::of(const FileItem& item) {
    PENUMBRA_ASSERT(item.length > 0 && item.length <= page_bytes, "a stored page of one byte to a page");
    PENUMBRA_ASSERT(item.identity.page >> page_index_bits == 0, "page index too large to store");
    constexpr std::uint64_t version_mask = (std::uint64_t{1} << page_version_bits) - 1;
    Slot slot{.check = item.check, .stored = 1};
    slot.page = item.identity.page & ((std::uint64_t{1} << page_index_bits) - 1);
    slot.version = item.identity.version & version_mask;
    slot.length_less_one = (item.length - 1U) & (page_bytes - 1);
    slot.encoding = static_cast<std::uint64_t>(item.encoding) & 7;
    return slot;
}

void FileTier::look_up(std::span<const StoreHandle> handles, std::span<std::optional<Slot>> found) const {
    const MutexLock lock{mutex_};
    for (std::size_t i = 0; i < handles.size(); ++i) {
        const auto slot = static_cast<std::uint64_t>(handles[i]);
        found[i].reset();
        if (slot < allocator_.slots() && slots()[slot].stored != 0) found[i] = slots()[slot];
    }
}

bool FileTier::matches(StoreHandle handle, const PageOwner& owner, ConstPageBytes page) const {
    std::optional<Slot> slot;
    look_up({&handle, 1}, {&slot, 1});
    if (!slot) return false;
    const std::uint64_t number = planted(Plant::match_any_page) ? std::uint64_t{slot->page} : owner.page;
    return slot->page == number && slot->check == page_check({owner.vm, number, slot->version}, page);
}

}  // namespace penumbra::vmm
