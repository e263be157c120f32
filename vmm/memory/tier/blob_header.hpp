// The 16 bytes in front of every blob: the check, then page, version, length, kind and a coarse time of storing.
//
// Pages with the same contents share one blob. The page that came first keeps its own header, in front of the blob;
// each other has a record of a header and 8 bytes. The first of the records, the anchor, counts them. An owner's drop
// takes its own header out of use; the blob and the anchor stay while a record needs them:
//
//   owned --duplicate comes--> shared --owner drops--> orphan     anchor --owner drops--> dead_anchor
//     ^                          |                        |          |                         |
//     `--------last record goes--'                    (released with the last record: both, and the orphan)
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "vmm/memory/tier/page_check.hpp"
#include "vmm/memory/tier/slab_class.hpp"
#include "vmm/memory/tier/slab_table.hpp"
#include "vmm/memory/tier/tier.hpp"

namespace penumbra::vmm {

struct BlobInfo {
    std::uint64_t check = 0;
    std::uint32_t page = 0;     ///< page_index_bits
    std::uint32_t version = 0;  ///< page_version_bits
    std::uint16_t length = 0;
    Encoding encoding = Encoding::raw;
};

/// What a slot holds. `empty`: nothing yet, or nothing any more; so read pages that the kernel gives afresh.
enum class BlobState : std::uint8_t { empty, owned, shared, orphan, duplicate, anchor, dead_anchor };

[[nodiscard]] constexpr bool is_record(BlobState state) { return state >= BlobState::duplicate; }

/// What a record holds behind its header. A reference is a blob's handle: 32 bits, or it cannot be shared.
struct SharedRecord {
    std::uint32_t blob = 0;
    std::uint32_t anchor_or_count = 0;  ///< duplicate: its anchor. anchor: how many records there are, with itself
};

/// The length is kept as what is left of the slot, whose size the slab knows.
class BlobHeader {
public:
    BlobHeader() = default;
    BlobHeader(const BlobInfo& info, BlobState state, const SlabClass& shape, std::uint64_t generation)
        : check_(info.check) {
        packed_ = low_bits(generation, age_bits) << kind_bits | kind_of(state, info.encoding);
        packed_ = packed_ << slack_bits | (shape.slot_bytes - blob_header_bytes - info.length);
        packed_ = packed_ << page_version_bits | low_bits(info.version, page_version_bits);
        packed_ = packed_ << page_index_bits | info.page;
    }

    /// How many generations ago it was stored, modulo the few that are told apart.
    [[nodiscard]] std::uint64_t age(std::uint64_t generation) const {
        return low_bits(generation - (packed_ >> (kind_shift + kind_bits)), age_bits);
    }
    [[nodiscard]] std::uint32_t page() const { return static_cast<std::uint32_t>(low_bits(packed_, page_index_bits)); }
    [[nodiscard]] std::uint32_t version() const {
        return static_cast<std::uint32_t>(low_bits(packed_ >> page_index_bits, page_version_bits));
    }
    [[nodiscard]] BlobState state() const {
        if (kind() == 0) return BlobState::empty;
        if (kind() > last_blob_kind) {
            return static_cast<BlobState>(static_cast<std::uint64_t>(BlobState::duplicate) + kind() - 1 -
                                          last_blob_kind);
        }
        return static_cast<BlobState>(1 + (kind() - 1) / encodings);
    }
    void set_state(BlobState state) {
        const std::uint64_t mask = ((std::uint64_t{1} << kind_bits) - 1) << kind_shift;
        packed_ = (packed_ & ~mask) | kind_of(state, encoding()) << kind_shift;
    }
    [[nodiscard]] Encoding encoding() const {
        return kind() == 0 || kind() > last_blob_kind ? Encoding::raw : static_cast<Encoding>((kind() - 1) % encodings);
    }
    /// The hash of the contents, if the page is one of `vm`.
    [[nodiscard]] ContentHash contents(std::uint64_t vm) const {
        return checked_contents({vm, page(), version()}, check_);
    }
    /// Nothing when the length does not fit the slot: a slab that was cut anew meanwhile.
    [[nodiscard]] std::optional<BlobInfo> info(const SlabClass& shape) const {
        const std::uint64_t slack = low_bits(packed_ >> (page_index_bits + page_version_bits), slack_bits);
        const std::uint64_t room = shape.slot_bytes - blob_header_bytes;
        if (slack >= room || room - slack > page_bytes) return std::nullopt;
        return BlobInfo{check_, page(), version(), static_cast<std::uint16_t>(room - slack), encoding()};
    }

private:
    static constexpr unsigned slack_bits = 8;
    static constexpr unsigned kind_bits = 4;
    static constexpr unsigned age_bits = 4;
    static constexpr unsigned kind_shift = page_index_bits + page_version_bits + slack_bits;
    static constexpr std::uint64_t encodings = 4;
    static constexpr std::uint64_t last_blob_kind = 3 * encodings;  // owned, shared, orphan
    static_assert(kind_shift + kind_bits + age_bits == 64 && most_slack >> slack_bits == 0);

    [[nodiscard]] static constexpr std::uint64_t low_bits(std::uint64_t value, unsigned bits) {
        return value & ((std::uint64_t{1} << bits) - 1);
    }
    [[nodiscard]] static constexpr std::uint64_t kind_of(BlobState state, Encoding encoding) {
        const auto number = static_cast<std::uint64_t>(state);
        if (state == BlobState::empty) return 0;
        if (is_record(state)) return last_blob_kind + 1 + number - static_cast<std::uint64_t>(BlobState::duplicate);
        return 1 + (number - 1) * encodings + static_cast<std::uint64_t>(encoding);
    }
    [[nodiscard]] std::uint64_t kind() const { return low_bits(packed_ >> kind_shift, kind_bits); }

    std::uint64_t check_ = 0;
    std::uint64_t packed_ = 0;
};
static_assert(sizeof(BlobHeader) == blob_header_bytes);

[[nodiscard]] inline StoreHandle handle_of(SlotRef ref) {
    return StoreHandle{std::uint64_t{ref.slab} << slot_index_bits | ref.slot};
}

[[nodiscard]] inline SlotRef slot_of(StoreHandle handle) {
    const auto value = static_cast<std::uint64_t>(handle);
    return {static_cast<std::uint32_t>(value >> slot_index_bits), static_cast<std::uint32_t>(value % max_slots)};
}

}  // namespace penumbra::vmm
