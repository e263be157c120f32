#include "vmm/memory/tier/file_tier.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

#include "base/planted.hpp"

namespace penumbra::vmm {

namespace {

constexpr std::uint64_t slots_per_step = 64;  // the free map grows by whole words: 256 KiB
constexpr std::uint64_t largest_growth = (std::uint64_t{64} << 20) / page_bytes;
constexpr std::size_t slots_per_round = 256;
constexpr unsigned writes_per_round = 16;

}  // namespace

/// What one trip to the disk carries: items in order, in runs of neighbouring slots, packed into the writer's buffer.
struct FileTier::Round {
    std::span<const FileItem> items;
    std::span<StoreOutcome> outcomes;
    std::array<SlotRun, writes_per_round> runs;
    std::array<Slot, slots_per_round> slots;
    std::size_t run_count = 0;
    std::size_t item_count = 0;
    std::array<IoRequest, writes_per_round> requests;
};

Result<std::unique_ptr<FileTier>> FileTier::create(const FileTierOptions& options) {
    PENUMBRA_TRY_ASSIGN(auto file, SwapFile::open(options.path));
    std::uint64_t bytes = options.capacity_bytes;
    if (file.device_bytes() != 0) bytes = std::min(bytes, file.device_bytes());
    const std::uint64_t capacity = bytes / page_bytes / slots_per_step * slots_per_step;
    if (capacity == 0 || capacity >> store_handle_bits != 0) {
        return fail("use " + std::to_string(bytes) + " bytes of the swap file", options.path,
                    "give it 256 KiB to 256 TiB");
    }
    PENUMBRA_TRY_ASSIGN(auto writer, IoRing::create(file.fd(), writes_per_round, slots_per_round * page_bytes,
                                                    options.io, IoBuffer::registered));
    const std::uint64_t slot_bytes = (capacity * sizeof(Slot) + page_bytes - 1) / page_bytes * page_bytes;
    PENUMBRA_TRY_ASSIGN(auto slots, MappedRegion::anonymous(slot_bytes));
    return std::unique_ptr<FileTier>{new FileTier(std::move(file), std::move(writer), std::move(slots), capacity)};
}

FileTier::FileTier(SwapFile file, IoRing writer, MappedRegion slots, std::uint64_t capacity_slots)
    : file_(std::move(file)),
      writer_(std::move(writer)),
      capacity_slots_(capacity_slots),
      slot_memory_(std::move(slots)),
      registered_(writer_.registered_bytes()) {}

SlotRun FileTier::take_run(std::uint64_t wanted) {
    const MutexLock lock{mutex_};
    return allocator_.take(wanted);
}

Result<> FileTier::grow() {
    std::uint64_t now = 0;
    {
        const MutexLock lock{mutex_};
        now = allocator_.slots();
    }
    if (now == capacity_slots_) {
        return std::unexpected{Error{"find room in the swap file", path(), ENOSPC, "give it more capacity"}};
    }
    Result<> grown;
    // Where a full step does not fit, the last bit of space still serves.
    for (std::uint64_t step = std::min(largest_growth, capacity_slots_ - now); step > 0;
         step = step / 2 / slots_per_step * slots_per_step) {
        grown = file_.grow(now * page_bytes, (now + step) * page_bytes);
        if (grown) {
            const MutexLock lock{mutex_};
            allocator_.grow(step);
            return {};
        }
        if (grown.error().error_number != ENOSPC) break;
    }
    return grown;
}

/// Finds slots for as many items as one round takes.
Result<> FileTier::plan(Round& round) {
    while (round.item_count < round.items.size() && round.run_count < writes_per_round) {
        const std::uint64_t wanted =
            std::min({slots_per_write, round.items.size() - round.item_count, slots_per_round - round.item_count});
        if (wanted == 0) break;
        SlotRun run = take_run(wanted);
        if (run.slots == 0) {
            PENUMBRA_TRY(grow());
            run = take_run(wanted);
            PENUMBRA_ASSERT(run.slots > 0, "a grown file has free slots");
        }
        round.runs[round.run_count++] = run;
        round.item_count += run.slots;
    }
    return {};
}

void FileTier::fill(Round& round) {
    std::size_t item = 0;
    for (std::size_t r = 0; r < round.run_count; ++r) {
        const SlotRun run = round.runs[r];
        round.requests[r] = {run.first * page_bytes, writer_.buffer().data() + item * page_bytes,
                             run.slots * page_bytes};
        for (const std::size_t end = item + run.slots; item < end; ++item) {
            const FileItem& from = round.items[item];
            const std::span<std::byte> to = writer_.buffer().subspan(item * page_bytes, page_bytes);
            round.slots[item] = Slot::of(from);
            std::memcpy(to.data(), from.bytes, from.length);
            std::memset(to.data() + from.length, 0, page_bytes - from.length);
            if (planted(Plant::corrupt_stored_page)) flip_one_bit(to.first(from.length));
        }
    }
}

StoreResult<> FileTier::commit(const Round& round) {
    StoreResult<> result;
    const MutexLock lock{mutex_};
    std::size_t item = 0;
    for (std::size_t r = 0; r < round.run_count; ++r) {
        const SlotRun run = round.runs[r];
        const int error_number = round.requests[r].error_number;
        if (error_number != 0 && result)
            result = std::unexpected{io_error("write pages to the swap file", error_number)};
        for (std::uint64_t slot = run.first; slot < run.first + run.slots; ++slot, ++item) {
            if (error_number == 0) {
                slots()[slot] = round.slots[item];
                round.outcomes[item] = {StoreHandle{slot}, std::nullopt};
                pages_.fetch_add(1, std::memory_order_relaxed);
            } else {
                allocator_.give_back(slot);
                round.outcomes[item] = {StoreHandle{}, io_error({}, error_number).failure};
            }
        }
    }
    return result;
}

StoreResult<> FileTier::write_batch(std::span<const FileItem> items, std::span<StoreOutcome> outcomes) {
    PENUMBRA_ASSERT(outcomes.size() >= items.size(), "an outcome for every item");
    std::ranges::fill(outcomes, StoreOutcome{StoreHandle{}, StoreFailure::full});
    StoreResult<> result;
    for (std::size_t at = 0; at < items.size();) {
        Round round{
            .items = items.subspan(at), .outcomes = outcomes.subspan(at), .runs = {}, .slots = {}, .requests = {}};
        const Result<> planned = plan(round);
        if (round.run_count > 0) {
            fill(round);
            writer_.transfer(IoDirection::write, std::span{round.requests}.first(round.run_count));
            const StoreResult<> committed = commit(round);
            if (!committed && result) result = committed;
        }
        if (!planned && result) {
            const int error_number = planned.error().error_number;
            result = std::unexpected{StoreError{io_error({}, error_number).failure, planned.error()}};
        }
        at += round.item_count;
        if (result) continue;
        // What was not tried shares the failure: hammering a failing disk helps nobody.
        for (; at < items.size(); ++at) outcomes[at].failure = result.error().failure;
    }
    return result;
}

void FileTier::drop_batch(std::span<const StoreHandle> handles) {
    const MutexLock lock{mutex_};
    for (const StoreHandle handle : handles) {
        const auto slot = static_cast<std::uint64_t>(handle);
        PENUMBRA_ASSERT(slot < allocator_.slots() && slots()[slot].stored != 0, "drop of a page that is not stored");
        slots()[slot] = {};
        allocator_.give_back(slot);
    }
    pages_.fetch_sub(handles.size(), std::memory_order_relaxed);
}

StoreError FileTier::io_error(std::string act, int error_number) const {
    if (error_number == ENOSPC || error_number == EDQUOT) {
        return {StoreFailure::full, {std::move(act), path(), error_number, "free space on its file system"}};
    }
    return {StoreFailure::io, {std::move(act), path(), error_number, "look at the disk; then let the VM go on"}};
}

std::uint64_t FileTier::file_bytes() const {
    const MutexLock lock{mutex_};
    return allocator_.slots() * page_bytes;
}

std::uint64_t FileTier::bookkeeping_bytes() const {
    const MutexLock lock{mutex_};
    return allocator_.slots() * sizeof(Slot) + allocator_.bookkeeping_bytes();
}

}  // namespace penumbra::vmm
