// Where churn keeps its things, which pages it tests, and which vCPU owns which. Pure arithmetic over BootInfo.
#pragma once

#include <cstdint>

#include "guest-images/common/machine_abi.hpp"

namespace penumbra::guest {

inline constexpr std::uint64_t page_bytes = 4096;
/// Pages are dealt to the vCPUs by chunks: one chunk's states fill one page, so no two vCPUs write the same line.
inline constexpr std::uint64_t chunk_pages = page_bytes / sizeof(std::uint64_t);

/// After the image: control words, per-vCPU slots, report, console lines, accelerator ring, two scratch areas and one
/// 64-bit state per tested page; the tested pages are all the rest of RAM. "Page" below is a number in [0, pages()).
class ChurnLayout {
public:
    static constexpr std::uint64_t line_bytes = 256;
    static constexpr std::uint64_t scratch_bytes = 4 * page_bytes;

    constexpr ChurnLayout(const abi::BootInfo& boot)
        : base_((boot.image_end + page_bytes - 1) / page_bytes * page_bytes), cpus_(boot.cpus) {
        const std::uint64_t ram_pages = (boot.low_ram_bytes + boot.high_ram_bytes) / page_bytes;
        first_ = state(ram_pages) + page_bytes - 1;
        first_ -= first_ % page_bytes;
        if (first_ < boot.low_ram_bytes && cpus_ != 0) {
            low_pages_ = (boot.low_ram_bytes - first_) / page_bytes;
            pages_ = low_pages_ + boot.high_ram_bytes / page_bytes;
        }
    }

    /// False where the memory is too small for its vCPUs to own a chunk each.
    [[nodiscard]] constexpr bool usable() const {
        return cpus_ != 0 && cpus_ <= abi::max_vcpus && pages_ >= cpus_ * chunk_pages;
    }

    [[nodiscard]] constexpr std::uint64_t control() const { return base_; }
    [[nodiscard]] constexpr std::uint64_t slots() const { return base_ + page_bytes; }
    [[nodiscard]] constexpr std::uint64_t report() const { return base_ + 2 * page_bytes; }
    [[nodiscard]] constexpr std::uint64_t line(std::uint64_t cpu) const {
        return base_ + 3 * page_bytes + cpu * line_bytes;
    }
    [[nodiscard]] constexpr std::uint64_t ring() const { return base_ + 3 * page_bytes + abi::max_vcpus * line_bytes; }
    [[nodiscard]] constexpr std::uint64_t fill_scratch() const { return ring() + page_bytes; }
    [[nodiscard]] constexpr std::uint64_t copy_scratch() const { return fill_scratch() + scratch_bytes; }
    [[nodiscard]] constexpr std::uint64_t state(std::uint64_t page) const {
        return copy_scratch() + scratch_bytes + page * sizeof(std::uint64_t);
    }

    [[nodiscard]] constexpr std::uint64_t cpus() const { return cpus_; }
    [[nodiscard]] constexpr std::uint64_t pages() const { return pages_; }
    [[nodiscard]] constexpr std::uint64_t gpa(std::uint64_t page) const {
        return page < low_pages_ ? first_ + page * page_bytes : abi::high_ram_base + (page - low_pages_) * page_bytes;
    }
    /// True where pages [page, page + count) lie side by side in guest-physical memory.
    [[nodiscard]] constexpr bool contiguous(std::uint64_t page, std::uint64_t count) const {
        return page + count <= pages_ && gpa(page + count - 1) - gpa(page) == (count - 1) * page_bytes;
    }

    /// How many pages `cpu` owns; they are numbered [0, owned) by page().
    [[nodiscard]] constexpr std::uint64_t owned(std::uint64_t cpu) const {
        const std::uint64_t round = cpus_ * chunk_pages;
        const std::uint64_t rest = pages_ % round;
        const std::uint64_t before = cpu * chunk_pages;
        const std::uint64_t in_last_round = rest <= before ? 0 : rest - before;
        return pages_ / round * chunk_pages + (in_last_round < chunk_pages ? in_last_round : chunk_pages);
    }
    [[nodiscard]] constexpr std::uint64_t page(std::uint64_t cpu, std::uint64_t own) const {
        return (own / chunk_pages * cpus_ + cpu) * chunk_pages + own % chunk_pages;
    }

private:
    std::uint64_t base_;
    std::uint64_t cpus_;
    std::uint64_t first_ = 0;
    std::uint64_t low_pages_ = 0;
    std::uint64_t pages_ = 0;
};

}  // namespace penumbra::guest
