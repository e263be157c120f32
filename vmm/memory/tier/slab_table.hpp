// One descriptor per slab of a blob pool, in a sparse array. The fields a racing load looks at are atomic; all others
// belong to whoever holds the pool's lock.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include "base/mapped_region.hpp"
#include "base/result.hpp"
#include "vmm/memory/tier/slab_class.hpp"

namespace penumbra::vmm {

inline constexpr std::uint32_t no_slab = 0xffffffff;

/// A place in a doubly linked list of slabs.
struct SlabLink {
    std::uint32_t next = no_slab;
    std::uint32_t previous = no_slab;
};

struct Slab {
    std::array<std::atomic<std::uint64_t>, max_slots / 64> taken{};  ///< bit per slot; written under the pool's lock
    std::atomic<std::uint8_t> slab_class{0};                         ///< written under the pool's lock
    std::uint8_t bucket = 0;
    std::uint16_t used = 0;     ///< slots taken
    std::uint16_t touched = 0;  ///< bit per 4 KiB page the kernel charges
    SlabLink by_fullness;       ///< among partly filled slabs of the class, or free slabs
    SlabLink by_age;            ///< among slabs in use, oldest first

    [[nodiscard]] const SlabClass& shape() const { return slab_classes[slab_class.load(std::memory_order_relaxed)]; }
    [[nodiscard]] bool is_taken(unsigned slot) const {
        return (taken[slot / 64].load(std::memory_order_relaxed) >> (slot % 64) & 1) != 0;
    }
    /// Any slot from `first` to `last` taken?
    [[nodiscard]] bool any_taken(unsigned first, unsigned last) const {
        for (unsigned word = first / 64; word <= last / 64; ++word) {
            std::uint64_t mask = ~std::uint64_t{0};
            if (word == first / 64) mask <<= first % 64;
            if (word == last / 64) mask &= ~std::uint64_t{0} >> (63 - last % 64);
            if ((taken[word].load(std::memory_order_relaxed) & mask) != 0) return true;
        }
        return false;
    }
    /// max_slots when there is none.
    [[nodiscard]] unsigned lowest_free() const {
        for (unsigned word = 0; word < taken.size(); ++word) {
            const std::uint64_t bits = taken[word].load(std::memory_order_relaxed);
            if (bits != ~std::uint64_t{0}) return word * 64 + static_cast<unsigned>(std::countr_one(bits));
        }
        return max_slots;
    }
    void set_taken(unsigned slot, bool now_taken) {
        auto& word = taken[slot / 64];
        const std::uint64_t bit = std::uint64_t{1} << (slot % 64);
        const std::uint64_t old = word.load(std::memory_order_relaxed);
        word.store(now_taken ? old | bit : old & ~bit, std::memory_order_relaxed);
    }
};
static_assert(sizeof(Slab) <= 64);

/// Of Slab::touched.
[[nodiscard]] constexpr std::uint16_t page_bit(unsigned page) { return static_cast<std::uint16_t>(1U << page); }

struct SlotRef {
    friend constexpr bool operator==(const SlotRef&, const SlotRef&) = default;

    std::uint32_t slab = 0;
    std::uint32_t slot = 0;
};

class SlabTable {
public:
    [[nodiscard]] static Result<SlabTable> create(std::uint32_t slabs) {
        const std::size_t bytes = (slabs * sizeof(Slab) + page_bytes - 1) / page_bytes * page_bytes;
        auto region = MappedRegion::anonymous(bytes);
        if (!region) return std::unexpected{std::move(region).error()};
        return SlabTable{std::move(*region), slabs};
    }
    SlabTable(SlabTable&& other) noexcept
        : region_(std::move(other.region_)), capacity_(other.capacity_), opened_(other.opened()) {}

    [[nodiscard]] std::uint32_t capacity() const { return capacity_; }
    [[nodiscard]] std::uint32_t opened() const { return opened_.load(std::memory_order_acquire); }
    /// Begins the life of the next descriptor; the pool's lock is held and capacity is left.
    std::uint32_t open_next() {
        const std::uint32_t index = opened_.load(std::memory_order_relaxed);
        new (region_.data() + index * sizeof(Slab)) Slab;
        opened_.store(index + 1, std::memory_order_release);
        return index;
    }
    [[nodiscard]] Slab& operator[](std::uint32_t index) const {
        return *std::launder(reinterpret_cast<Slab*>(region_.data() + index * sizeof(Slab)));
    }

private:
    SlabTable(MappedRegion region, std::uint32_t slabs) : region_(std::move(region)), capacity_(slabs) {}

    MappedRegion region_;
    std::uint32_t capacity_;
    std::atomic<std::uint32_t> opened_{0};
};

/// A list threaded through the descriptors by one of their links.
template <SlabLink Slab::* link>
class SlabList {
public:
    [[nodiscard]] std::uint32_t front() const { return front_; }

    void push_back(const SlabTable& table, std::uint32_t index) {
        table[index].*link = {no_slab, back_};
        (back_ == no_slab ? front_ : (table[back_].*link).next) = index;
        back_ = index;
    }
    void remove(const SlabTable& table, std::uint32_t index) {
        const SlabLink gone = table[index].*link;
        (gone.previous == no_slab ? front_ : (table[gone.previous].*link).next) = gone.next;
        (gone.next == no_slab ? back_ : (table[gone.next].*link).previous) = gone.previous;
    }

private:
    std::uint32_t front_ = no_slab;
    std::uint32_t back_ = no_slab;
};

}  // namespace penumbra::vmm
