#include "vmm/devices/accelerator/process_spaces.hpp"

#include <algorithm>

#include "vmm/devices/accelerator/command.hpp"

namespace penumbra::vmm {

using abi::AccelResult;
using abi::PasidFlag;

namespace {

constexpr std::uint64_t bit(PasidFlag flag) { return static_cast<std::uint64_t>(flag); }
constexpr std::uint64_t flags = page_bytes - 1;
constexpr std::uint64_t known_flags = bit(PasidFlag::present) | bit(PasidFlag::five_levels) |
                                      bit(PasidFlag::announces) | bit(PasidFlag::cooperative) |
                                      bit(PasidFlag::unsync_leaves);
/// Flags that a context keeps from its opening on.
constexpr std::uint64_t tracking_flags =
    bit(PasidFlag::announces) | bit(PasidFlag::cooperative) | bit(PasidFlag::unsync_leaves);

bool are_sound(std::uint64_t of_entry) {
    const auto has = [&](PasidFlag flag) { return (of_entry & bit(flag)) != 0; };
    if (!has(PasidFlag::present) || (of_entry & ~known_flags) != 0) return false;
    if (has(PasidFlag::cooperative) && has(PasidFlag::unsync_leaves)) return false;
    return has(PasidFlag::announces) || !(has(PasidFlag::cooperative) || has(PasidFlag::unsync_leaves));
}

}  // namespace

std::optional<mmu::ContextOptions> checked_process(const abi::PasidEntry& entry, const mmu::Memslots& memslots) {
    const std::uint64_t root = entry.root & ~flags;
    if (entry.zero != 0 || !are_sound(entry.root & flags) || !is_ram_page(root, memslots)) return std::nullopt;
    const auto has = [&](PasidFlag flag) { return (entry.root & bit(flag)) != 0; };
    mmu::ContextOptions options{.root = Gpa{root}, .mode = {}};
    options.mode.top = has(PasidFlag::five_levels) ? Level::top_5 : Level::top_4;
    if (has(PasidFlag::announces)) options.announces = mmu::Announces::yes;
    if (has(PasidFlag::cooperative)) options.tracking = mmu::Tracking::cooperative;
    if (has(PasidFlag::unsync_leaves)) options.tracking = mmu::Tracking::unsync_leaves;
    return options;
}

std::expected<ProcessSpaces::Process, AccelResult> ProcessSpaces::enter(std::uint32_t pasid,
                                                                        const abi::PasidEntry& entry) {
    const std::optional<mmu::ContextOptions> options = checked_process(entry, memslots_);
    const auto known = std::ranges::find(spaces_, pasid, &Space::pasid);
    const bool same_tracking = known != spaces_.end() && ((known->root ^ entry.root) & tracking_flags) == 0;
    if (!options || !same_tracking) {
        close(pasid);
        if (!options) return std::unexpected{AccelResult::bad_pasid};
        const mmu::ContextId context = open(*options);
        spaces_.push_back({pasid, entry.root, context});
    } else {
        if (known->root != entry.root) table_.set_root(known->context, options->root, options->mode);
        known->root = entry.root;
        std::rotate(known, known + 1, spaces_.end());
    }
    return Process{spaces_.back().context, options->mode.top};
}

void ProcessSpaces::close(std::uint32_t pasid) {
    const auto known = std::ranges::find(spaces_, pasid, &Space::pasid);
    if (known == spaces_.end()) return;
    table_.close_context(known->context);
    spaces_.erase(known);
}

void ProcessSpaces::close_all() {
    while (!spaces_.empty()) close(spaces_.back().pasid);
}

mmu::ContextId ProcessSpaces::open(const mmu::ContextOptions& options) {
    for (;;) {
        if (const auto context = table_.open_context(options)) return *context;
        PENUMBRA_ASSERT(!spaces_.empty(), "the shadow table has contexts of somebody else");
        close(spaces_.front().pasid);
    }
}

}  // namespace penumbra::vmm
