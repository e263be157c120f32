// Sizes of the svm image and where it keeps its things. Pure arithmetic over BootInfo.
#pragma once

#include <cstdint>

#include "guest-images/common/churn_layout.hpp"

namespace penumbra::guest {

inline constexpr std::uint32_t svm_processes = 6;
inline constexpr std::uint32_t svm_roots = 2;        ///< of each process
inline constexpr std::uint32_t svm_half_pages = 16;  ///< on each side of the border in a process's addresses
inline constexpr std::uint32_t svm_pages = 2 * svm_half_pages;
/// The device writes to the outer pages of a buffer, [0, svm_outer) and the last ones, and reads those between.
inline constexpr std::uint32_t svm_outer = 4;
inline constexpr std::uint32_t svm_longest_sum = 8;  ///< pages
inline constexpr std::uint32_t svm_landings = 16;    ///< places that copies go to, each
inline constexpr std::uint32_t svm_landing_pages = 4;
inline constexpr std::uint32_t svm_leaf_landing = 64;   ///< index of the first landing page in a leaf table
inline constexpr std::uint32_t svm_landing_rounds = 4;  ///< so often a leaf table names the landings, one after another
inline constexpr std::uint32_t svm_ring_entries = 1024;
inline constexpr std::uint32_t svm_spare_pages = 256;  ///< that no table names
inline constexpr std::uint32_t svm_slots = svm_processes * svm_roots * 2 * 2 * svm_half_pages;
inline constexpr std::uint32_t svm_data_pages = svm_slots + svm_spare_pages;
inline constexpr std::uint32_t svm_most_tables = svm_processes * svm_roots * (4 + 2 * 2 * 4);

constexpr bool svm_is_outer(std::uint32_t page) { return page < svm_outer || page >= svm_pages - svm_outer; }

/// After the image: the world (all that the vCPUs share), report, console lines, ring, request queue, PASID table,
/// landings, tables, data pages, and a version of each filler page; the filler is all the rest of RAM.
class SvmLayout {
public:
    static constexpr std::uint64_t line_bytes = 256;

    constexpr SvmLayout(const abi::BootInfo& boot, std::uint64_t world_bytes)
        : report_(rounded(rounded(boot.image_end) + world_bytes)),
          world_(rounded(boot.image_end)),
          low_bytes_(boot.low_ram_bytes) {
        filler_pages_ = (boot.low_ram_bytes + boot.high_ram_bytes) / page_bytes;
        const std::uint64_t first = rounded(versions() + filler_pages_ * sizeof(std::uint32_t));
        low_filler_ = first < low_bytes_ ? (low_bytes_ - first) / page_bytes : 0;
        first_filler_ = first;
        filler_pages_ = low_filler_ == 0 ? 0 : low_filler_ + boot.high_ram_bytes / page_bytes;
    }

    /// False where RAM is too small.
    [[nodiscard]] constexpr bool usable() const { return filler_pages_ >= svm_data_pages; }

    [[nodiscard]] constexpr std::uint64_t world() const { return world_; }
    [[nodiscard]] constexpr std::uint64_t report() const { return report_; }
    [[nodiscard]] constexpr std::uint64_t line(std::uint64_t cpu) const {
        return report_ + page_bytes + cpu * line_bytes;
    }
    [[nodiscard]] constexpr std::uint64_t ring() const { return line(abi::max_vcpus); }
    [[nodiscard]] constexpr std::uint64_t request_queue() const {
        return ring() + svm_ring_entries * sizeof(abi::AccelCommand);
    }
    [[nodiscard]] constexpr std::uint64_t pasid_table() const { return request_queue() + page_bytes; }
    [[nodiscard]] constexpr std::uint64_t landing(std::uint64_t number) const {
        return pasid_table() + page_bytes + number * svm_landing_pages * page_bytes;
    }
    [[nodiscard]] constexpr std::uint64_t tables() const { return landing(svm_landings); }
    [[nodiscard]] constexpr std::uint64_t data(std::uint64_t page) const {
        return tables() + (svm_most_tables + page) * page_bytes;
    }
    [[nodiscard]] constexpr std::uint64_t versions() const { return data(svm_data_pages); }
    [[nodiscard]] constexpr std::uint64_t filler_pages() const { return filler_pages_; }
    [[nodiscard]] constexpr std::uint64_t filler(std::uint64_t page) const {
        return page < low_filler_ ? first_filler_ + page * page_bytes
                                  : abi::high_ram_base + (page - low_filler_) * page_bytes;
    }

private:
    static constexpr std::uint64_t rounded(std::uint64_t at) { return (at + page_bytes - 1) / page_bytes * page_bytes; }

    std::uint64_t report_;
    std::uint64_t world_;
    std::uint64_t low_bytes_;
    std::uint64_t filler_pages_ = 0;
    std::uint64_t first_filler_ = 0;
    std::uint64_t low_filler_ = 0;
};

}  // namespace penumbra::guest
