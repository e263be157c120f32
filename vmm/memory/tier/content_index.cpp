#include "vmm/memory/tier/content_index.hpp"

#include <algorithm>
#include <utility>

#include "base/assert.hpp"

namespace penumbra::vmm {

namespace {

constexpr unsigned second_choice = 24;  // which bits of the hash name the second bucket

}  // namespace

Result<ContentIndex> ContentIndex::create(std::uint64_t most_blobs, unsigned ref_bits) {
    PENUMBRA_ASSERT(ref_bits <= 32, "references of 32 bits at most");
    const std::uint64_t buckets = std::max(most_blobs / aim + 1, fewest_buckets);
    const std::uint64_t bytes = (buckets * sizeof(Bucket) + page_bytes - 1) / page_bytes * page_bytes;
    PENUMBRA_TRY_ASSIGN(auto memory, MappedRegion::anonymous(bytes));
    return ContentIndex{std::move(memory), buckets, ref_bits};
}

std::uint32_t ContentIndex::tag_of(ContentHash contents) const {
    return static_cast<std::uint32_t>((static_cast<std::uint64_t>(contents) >> 32) >> ref_bits_);
}

std::uint32_t ContentIndex::word_of(ContentHash contents, std::uint32_t ref) const {
    return static_cast<std::uint32_t>(std::uint64_t{tag_of(contents)} << ref_bits_ | ref) + 1;
}

std::uint64_t ContentIndex::bucket_of(std::uint64_t hash) const {
    const std::uint64_t index = hash & (round_ * 2 - 1);
    return index < buckets_ ? index : hash & (round_ - 1);
}

std::pair<std::uint64_t, std::uint64_t> ContentIndex::buckets_of(ContentHash contents) const {
    const auto hash = static_cast<std::uint64_t>(contents);
    return {bucket_of(hash), bucket_of(hash >> second_choice)};
}

std::uint32_t* ContentIndex::place_of(ContentHash contents, std::uint32_t ref) const {
    const auto [first, second] = buckets_of(contents);
    for (const std::uint64_t index : {first, second}) {
        Bucket& in = bucket(index);
        if (const auto at = std::ranges::find(in, word_of(contents, ref)); at != in.end()) return &*at;
    }
    return nullptr;
}

std::uint32_t ContentIndex::put_word(std::uint64_t index, std::uint32_t word) {
    Bucket& in = bucket(index);
    const auto free = std::ranges::find(in, 0U);
    if (free == in.end()) return std::exchange(in[(word + turn_++) % ways], word);
    *free = word;
    ++blobs_;
    return 0;
}

ContentIndex::References ContentIndex::find(ContentHash contents) const {
    References found;
    const auto [first, second] = buckets_of(contents);
    const auto look = [&](std::uint64_t index) {
        for (const std::uint32_t word : bucket(index)) {
            if (word != 0 && std::uint64_t{word - 1} >> ref_bits_ == tag_of(contents)) found.add(ref_of(word));
        }
    };
    look(first);
    if (second != first) look(second);
    return found;
}

std::optional<std::uint32_t> ContentIndex::insert(ContentHash contents, std::uint32_t ref) {
    const auto [first, second] = buckets_of(contents);
    const auto first_free = std::ranges::count(bucket(first), 0U);
    const auto second_free = std::ranges::count(bucket(second), 0U);
    // Where both are full, either: who makes room must not always come back to the same.
    const bool take_second = second_free > first_free || (first_free == 0 && second_free == 0 && turn_ % 2 != 0);
    const std::uint32_t word = put_word(take_second ? second : first, word_of(contents, ref));
    return word == 0 ? std::nullopt : std::optional{ref_of(word)};
}

ContentIndex::References ContentIndex::grow() {
    References taken;
    if (blobs_ < buckets_ * aim || buckets_ == most_buckets_) return taken;
    if (buckets_ == round_ * 2) round_ *= 2;
    for (std::uint32_t& word : bucket(buckets_ - round_)) {
        if (const std::uint32_t old = std::exchange(word, 0U); old != 0) taken.add(ref_of(old));
    }
    ++buckets_;
    blobs_ -= taken.count;
    return taken;
}

void ContentIndex::merge() {
    --buckets_;
    if (buckets_ < round_) round_ /= 2;
    const Bucket taken = std::exchange(bucket(buckets_), Bucket{});
    blobs_ -= static_cast<std::uint64_t>(ways) - static_cast<std::uint64_t>(std::ranges::count(taken, 0U));
    for (const std::uint32_t word : taken) {
        if (word != 0) put_word(buckets_ - round_, word);
    }
    const std::uint64_t end = buckets_ * sizeof(Bucket);
    if (end % page_bytes == 0) memory_.discard(end, page_bytes);
}

void ContentIndex::remove(ContentHash contents, std::uint32_t ref) {
    std::uint32_t* place = place_of(contents, ref);
    if (place == nullptr) return;
    *place = 0;
    --blobs_;
    if (blobs_ < buckets_ * too_empty && buckets_ > fewest_buckets) merge();
}

void ContentIndex::replace(ContentHash contents, std::uint32_t from, std::uint32_t to) {
    if (std::uint32_t* place = place_of(contents, from); place != nullptr) *place = word_of(contents, to);
}

std::uint64_t ContentIndex::resident_bytes() const {
    return (buckets_ * sizeof(Bucket) + page_bytes - 1) / page_bytes * page_bytes;
}

}  // namespace penumbra::vmm
