// Where each guest page is: one 64-bit word per page, changed by compare-and-swap, through named legal moves only.
//
//   zero --fault--> resident --take out--> limbo --claim--> packing --store--> compressed --write back--> stored (or
//   remote)
//                      ^                     |                 |  |                |                       |
//                      `------ rescue -------+-----------------'  `-> zero         `------- fault ---------'
//
// The version counts how often the page left the window. It is part of every stored page's identity, and it lets a
// fault prove that the content it resolved is still the newest.
//
// A page that came back for reading keeps its copy in the tier it came from: named by the word while it is resident, by
// its slot while it is there. If it leaves unchanged it goes back to that copy, which keeps the version it was
// stored under.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/mapped_region.hpp"
#include "vmm/memory/tier/tier.hpp"

namespace penumbra::vmm {

enum class PageState : std::uint8_t {
    zero,        ///< never written, or found to be all zero: nothing is kept
    resident,    ///< in the window, or about to be
    limbo,       ///< out of the window, in a staging slot, not yet packed: the second chance
    packing,     ///< in its staging slot while a tier reads it
    compressed,  ///< a blob in the compressed tier
    stored,      ///< a slot of the file tier
    remote,      ///< on the store across the network
};

/// Number of a page within the window, from 0.
enum class PageIndex : std::uint32_t {};

enum class CopyTier : std::uint8_t { none, compressed, file, remote };

/// A tier's copy of a page that is in the window or in a slot. Who holds one drops it, hands it on, or goes back to it.
struct PageCopy {
    CopyTier tier = CopyTier::none;
    StoreHandle handle{};

    [[nodiscard]] constexpr bool exists() const { return tier != CopyTier::none; }
    friend constexpr bool operator==(PageCopy, PageCopy) = default;
};

class PageWord {
public:
    constexpr PageWord() = default;
    constexpr explicit PageWord(std::uint64_t raw) : raw_(raw) {}

    [[nodiscard]] constexpr std::uint64_t raw() const { return raw_; }
    [[nodiscard]] constexpr PageState state() const { return static_cast<PageState>(raw_ & state_mask); }
    /// Came back soon after it was taken: the next sweep passes over it once.
    [[nodiscard]] constexpr bool hot() const { return (raw_ & hot_bit) != 0; }
    [[nodiscard]] constexpr std::uint64_t version() const { return (raw_ >> version_shift) & version_mask; }
    /// Staging slot in limbo and packing; the tier's handle in compressed and stored, and of the copy in resident; 0
    /// otherwise.
    [[nodiscard]] constexpr std::uint64_t handle() const { return raw_ >> handle_shift; }
    [[nodiscard]] constexpr StoreHandle store_handle() const { return StoreHandle{handle()}; }
    [[nodiscard]] constexpr bool in_slot() const {
        return state() == PageState::limbo || state() == PageState::packing;
    }
    /// Of a resident page.
    [[nodiscard]] constexpr PageCopy copy() const {
        const auto tier = static_cast<CopyTier>((raw_ >> copy_shift) & copy_mask);
        return {tier, tier == CopyTier::none ? StoreHandle{} : store_handle()};
    }
    /// Where a page is whose copy in a tier is all there is of it.
    [[nodiscard]] constexpr PageCopy only_copy() const {
        if (state() == PageState::compressed) return {CopyTier::compressed, store_handle()};
        if (state() == PageState::stored) return {CopyTier::file, store_handle()};
        if (state() == PageState::remote) return {CopyTier::remote, store_handle()};
        return {};
    }

    /// The same page and version elsewhere.
    [[nodiscard]] constexpr PageWord moved_to(PageState state, std::uint64_t handle = 0) const {
        return PageWord{static_cast<std::uint64_t>(state) | (raw_ & (version_mask << version_shift)) |
                        (handle << handle_shift)};
    }
    [[nodiscard]] constexpr PageWord moved_to(PageCopy copy) const {
        const PageState to = copy.tier == CopyTier::compressed ? PageState::compressed
                             : copy.tier == CopyTier::file     ? PageState::stored
                                                               : PageState::remote;
        return moved_to(to, static_cast<std::uint64_t>(copy.handle));
    }
    /// Of a resident page.
    [[nodiscard]] constexpr PageWord with_copy(PageCopy copy) const {
        return PageWord{(raw_ & low_bits) | (static_cast<std::uint64_t>(copy.tier) << copy_shift) |
                        (static_cast<std::uint64_t>(copy.handle) << handle_shift)};
    }
    [[nodiscard]] constexpr PageWord heated() const { return PageWord{raw_ | hot_bit}; }
    [[nodiscard]] constexpr PageWord cooled() const { return PageWord{raw_ & ~hot_bit}; }
    [[nodiscard]] constexpr PageWord next_version() const {
        const std::uint64_t next = (version() + 1) & version_mask;
        return PageWord{(raw_ & ~(version_mask << version_shift)) | (next << version_shift)};
    }

    friend constexpr bool operator==(PageWord, PageWord) = default;

private:
    static constexpr std::uint64_t state_mask = 7;
    static constexpr std::uint64_t hot_bit = 1U << 3;
    static constexpr unsigned version_shift = 4;
    static constexpr std::uint64_t version_mask = (1U << page_version_bits) - 1;
    static constexpr std::uint64_t low_bits = (1U << (version_shift + page_version_bits)) - 1;
    static constexpr unsigned copy_shift = 24;
    static constexpr std::uint64_t copy_mask = 3;
    static constexpr unsigned handle_shift = 28;
    static_assert(version_shift + page_version_bits == copy_shift && handle_shift + store_handle_bits == 64);

    std::uint64_t raw_ = 0;
};

[[nodiscard]] constexpr bool is_legal_move(PageWord from, PageWord to) {
    using enum PageState;
    if (to.state() == zero && to.version() == from.next_version().version()) return true;  // discarded
    const bool same_version = to.version() == from.version();
    switch (from.state()) {
        case zero:
            return to.state() == resident && same_version;
        // Taken out with a new version; cooled by the sweep, or put back where it was by a fault that could not finish.
        case resident:
            return same_version || (to.state() == limbo && to.version() == from.next_version().version());
        case limbo:
            return same_version && (to.state() == packing || to.state() == resident || to.state() == zero);
        case packing:
            return same_version && to.state() != packing;
        case compressed:
            // To another place in compressed memory, when that is tidied.
            return same_version && (to.state() == compressed || to.state() == stored || to.state() == remote ||
                                    to.state() == resident || to.state() == zero);
        case stored:
        case remote:
            return same_version && (to.state() == resident || to.state() == zero);
    }
    return false;
}

/// The words of all pages. Thread-safe.
class PageStates {
public:
    [[nodiscard]] static Result<PageStates> create(std::uint64_t pages);

    [[nodiscard]] std::uint64_t pages() const { return pages_; }
    [[nodiscard]] PageWord load(PageIndex page) const;
    /// False when the word is not `from` any more; nothing is changed then.
    [[nodiscard]] bool change(PageIndex page, PageWord from, PageWord to);

private:
    PageStates(MappedRegion region, std::uint64_t pages) : region_(std::move(region)), pages_(pages) {}
    [[nodiscard]] std::atomic<std::uint64_t>& word(PageIndex page) const;

    MappedRegion region_;  // zero-filled: every page starts as zero, version 0
    std::uint64_t pages_;
};

}  // namespace penumbra::vmm
