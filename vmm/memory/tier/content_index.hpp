// Finds a stored blob by the hash of its contents: buckets of 16 references of 4 bytes, as many buckets as keep them
// four fifths full. That is about 5 bytes for a blob that can be found. A blob is in one of two buckets that its hash
// names. Where both are full, somebody else's reference makes room and is inserted anew, in its own other bucket
// (Pagh and Rodler's cuckoo hashing). After a few such steps one is forgotten: its blob stays stored, and is merely not
// found any more.
//
// Grows and shrinks by one bucket at a time (linear hashing: Litwin, VLDB 1980), so that no call takes long. Not
// thread-safe: BlobPool holds its lock around every call.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "base/mapped_region.hpp"
#include "base/result.hpp"
#include "vmm/memory/tier/page_check.hpp"

namespace penumbra::vmm {

class ContentIndex {
public:
    static constexpr std::size_t ways = 16;
    struct References {
        std::array<std::uint32_t, 2 * ways> refs{};
        std::size_t count = 0;

        [[nodiscard]] std::span<const std::uint32_t> list() const { return std::span{refs}.first(count); }
        void add(std::uint32_t ref) { refs[count++] = ref; }
    };

    /// References are below 2^ref_bits - 1; the bits they leave are filled with bits of the hash, which spares looking
    /// at most blobs that only fell into the same bucket. At most `most_blobs` are found.
    [[nodiscard]] static Result<ContentIndex> create(std::uint64_t most_blobs, unsigned ref_bits);

    /// References under that hash, or one much like it.
    [[nodiscard]] References find(ContentHash contents) const;
    /// The reference that had to make room, if one had to: insert it again under its own hash, or forget it.
    [[nodiscard]] std::optional<std::uint32_t> insert(ContentHash contents, std::uint32_t ref);
    /// Adds a bucket where that is due, and hands out references that must be inserted again for it.
    [[nodiscard]] References grow();
    void remove(ContentHash contents, std::uint32_t ref);
    /// Where `from` was, `to` is found; nothing where it was forgotten.
    void replace(ContentHash contents, std::uint32_t from, std::uint32_t to);

    /// How many can be found.
    [[nodiscard]] std::uint64_t blobs() const { return blobs_; }
    [[nodiscard]] std::uint64_t resident_bytes() const;

private:
    static constexpr std::uint64_t aim = 13;       // of 16, when a bucket is added
    static constexpr std::uint64_t too_empty = 4;  // of 16, when one is taken away
    static constexpr std::uint64_t fewest_buckets = page_bytes / (ways * sizeof(std::uint32_t));
    using Bucket = std::array<std::uint32_t, ways>;  // 0: nothing; else the tag over the reference, and 1

    ContentIndex(MappedRegion memory, std::uint64_t most_buckets, unsigned ref_bits)
        : memory_(std::move(memory)), most_buckets_(most_buckets), ref_bits_(ref_bits) {}

    [[nodiscard]] std::uint32_t ref_of(std::uint32_t word) const {
        return static_cast<std::uint32_t>((word - 1) & ((std::uint64_t{1} << ref_bits_) - 1));
    }
    [[nodiscard]] std::uint32_t tag_of(ContentHash contents) const;
    [[nodiscard]] std::uint32_t word_of(ContentHash contents, std::uint32_t ref) const;
    /// Both may be the same.
    [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> buckets_of(ContentHash contents) const;
    [[nodiscard]] std::uint64_t bucket_of(std::uint64_t hash) const;
    [[nodiscard]] Bucket& bucket(std::uint64_t index) const { return reinterpret_cast<Bucket*>(memory_.data())[index]; }
    [[nodiscard]] std::uint32_t* place_of(ContentHash contents, std::uint32_t ref) const;
    /// Takes the last bucket away.
    void merge();
    /// The word that was there before, where the bucket is full.
    std::uint32_t put_word(std::uint64_t index, std::uint32_t word);

    MappedRegion memory_;
    std::uint64_t most_buckets_;
    unsigned ref_bits_;
    std::uint64_t buckets_ = fewest_buckets;
    std::uint64_t round_ = fewest_buckets;  // a power of two: buckets_ is at least that and less than twice
    std::uint64_t blobs_ = 0;
    std::uint32_t turn_ = 0;  // which of a full bucket makes room
};

}  // namespace penumbra::vmm
