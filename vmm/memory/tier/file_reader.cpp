#include "vmm/memory/tier/file_reader.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "vmm/memory/tier/page_check.hpp"
#include "vmm/memory/tier/page_codec.hpp"

namespace penumbra::vmm {

Result<std::unique_ptr<FileReader>> FileTier::make_reader() {
    auto reserved = registered_.load(std::memory_order_relaxed);
    IoBuffer buffer = IoBuffer::plain;
    while (buffer == IoBuffer::plain && reserved + FileReader::buffer_bytes <= FileReader::registered_at_most) {
        if (registered_.compare_exchange_weak(reserved, reserved + FileReader::buffer_bytes))
            buffer = IoBuffer::registered;
    }
    auto ring = IoRing::create(file_.fd(), FileReader::depth, FileReader::buffer_bytes, mode(), buffer);
    const std::uint64_t kept = ring ? ring->registered_bytes() : 0;
    if (buffer == IoBuffer::registered) registered_.fetch_sub(FileReader::buffer_bytes - kept);
    if (!ring) return std::unexpected{std::move(ring).error()};
    return std::unique_ptr<FileReader>{new FileReader(*this, std::move(*ring))};
}

FileReader::~FileReader() { tier_.registered_.fetch_sub(ring_.registered_bytes()); }

StoreResult<> FileReader::read(StoreHandle handle, const PageOwner& owner, PageBytes out) {
    const ReadItem item{handle, owner, out.data()};
    StoreOutcome outcome;
    return read_batch({&item, 1}, {&outcome, 1});
}

StoreResult<> FileReader::read_batch(std::span<const ReadItem> items, std::span<StoreOutcome> outcomes) {
    PENUMBRA_ASSERT(outcomes.size() >= items.size(), "an outcome for every item");
    StoreResult<> result;
    for (std::size_t at = 0; at < items.size(); at += depth) {
        const std::size_t count = std::min<std::size_t>(depth, items.size() - at);
        read_some(items.subspan(at, count), outcomes.subspan(at, count), result);
    }
    return result;
}

void FileReader::read_some(std::span<const ReadItem> items, std::span<StoreOutcome> outcomes, StoreResult<>& result) {
    std::array<StoreHandle, depth> handles;
    std::array<std::optional<FileTier::Slot>, depth> slots;
    std::array<IoRequest, depth> requests;
    std::array<std::size_t, depth> item_of{};
    std::ranges::transform(items, handles.begin(), &ReadItem::handle);
    tier_.look_up(std::span{handles}.first(items.size()), slots);

    const auto failed = [&](std::size_t item, StoreError error) {
        outcomes[item] = {handles[item], error.failure};
        if (result) result = std::unexpected{std::move(error)};
    };
    std::size_t count = 0;
    for (std::size_t i = 0; i < items.size(); ++i) {
        outcomes[i] = {handles[i], std::nullopt};
        if (!slots[i] || slots[i]->page != items[i].owner.page) {
            failed(i, corrupt_page(tier_.path(), items[i].owner).error());
            continue;
        }
        item_of[count] = i;
        requests[count] = {static_cast<std::uint64_t>(handles[i]) * page_bytes,
                           ring_.buffer().data() + count * page_bytes, page_bytes};
        ++count;
    }
    ring_.transfer(IoDirection::read, std::span{requests}.first(count));
    for (std::size_t r = 0; r < count; ++r) {
        const ReadItem& item = items[item_of[r]];
        const FileTier::Slot& slot = *slots[item_of[r]];
        if (requests[r].error_number != 0) {
            failed(item_of[r], tier_.io_error("read page " + std::to_string(item.owner.page) + " from the swap file",
                                              requests[r].error_number));
            continue;
        }
        const std::span<const std::byte> stored{requests[r].data, slot.length()};
        const PageBytes out{item.out, page_bytes};
        if (!decode_page(static_cast<Encoding>(slot.encoding), stored, out) ||
            slot.check != page_check({item.owner.vm, item.owner.page, slot.version}, ConstPageBytes{out})) {
            failed(item_of[r], corrupt_page(tier_.path(), item.owner).error());
        }
    }
}

}  // namespace penumbra::vmm
