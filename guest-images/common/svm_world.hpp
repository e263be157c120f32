// All that the vCPUs of the svm image share. It lies in guest RAM, which starts out zero.
#pragma once

#include <cstdint>

#include "guest-images/common/svm_content.hpp"
#include "guest-images/common/svm_process.hpp"

namespace penumbra::guest {

/// A command in the ring; written before its doorbell, read until it is collected.
struct SvmCommand {
    abi::AccelOpcode opcode;
    std::uint32_t process;
    std::uint32_t first;  ///< virtual page
    std::uint32_t pages;
    std::uint32_t landing;  ///< of a copy
    std::uint64_t failed;   ///< 1 + the address whose page request was answered with a refusal

    [[nodiscard]] bool works() const { return opcode != abi::AccelOpcode::invalidate; }
    /// Works on the landings, behind all pages that change.
    [[nodiscard]] bool is_ballast() const { return first == svm_pages; }
    [[nodiscard]] bool covers(std::uint32_t of, std::uint32_t from, std::uint32_t count) const {
        return works() && process == of && from < first + pages && first < from + count;
    }
    [[nodiscard]] SvmAccess access() const {
        return opcode == abi::AccelOpcode::fill ? SvmAccess::write : SvmAccess::read;
    }
};

/// A data page that its virtual page left.
struct SvmRetired {
    SvmSlot slot;  ///< as it was
    std::uint32_t process;
    std::uint32_t page;  ///< virtual
    std::uint64_t left;  ///< the command in hand before the store that took it out
    bool spare;          ///< no table names it: it may go elsewhere
};

inline constexpr std::uint32_t svm_most_retired = 192;

/// An entry that lacks a right.
struct SvmDrop {
    SvmPlace at;
    std::uint32_t which;  ///< of a leaf entry: in which of the two tables
};
inline constexpr std::uint32_t svm_most_drops = 8;

struct SvmData {
    std::uint32_t version;
    std::uint32_t raw;  ///< raw sum
};

/// From the vCPU that changes tables to the one that feeds the device.
struct SvmAnnouncement {
    std::uint32_t process;
    std::uint32_t first;
    std::uint32_t pages;  ///< 0: all
};
struct SvmMailbox {
    std::uint64_t asked;   ///< lists so far
    std::uint64_t posted;  ///< of them are in the ring
    std::uint64_t number;  ///< command number of the last announcement
    SvmAnnouncement list[svm_processes];
    std::uint32_t count;
};

/// Each is written by one vCPU.
struct SvmCounts {
    std::uint64_t remaps, permissions, rewrites, switches;  ///< changes
    std::uint64_t in_use;    ///< changes of an entry that the command in hand works through, before and after
    std::uint64_t restored;  ///< page requests that were answered by giving the page back
    std::uint64_t refused;   ///< and those that were not
    std::uint64_t announced;
    std::uint64_t data_verified;
    alignas(64) std::uint64_t commands;  ///< collected
    std::uint64_t bytes;
    std::uint64_t sums;
    std::uint64_t faulted;
    std::uint64_t empty;  ///< moments at which the queue was found empty

    [[nodiscard]] std::uint64_t changes() const {
        return __atomic_load_n(&remaps, __ATOMIC_RELAXED) + __atomic_load_n(&permissions, __ATOMIC_RELAXED) +
               __atomic_load_n(&rewrites, __ATOMIC_RELAXED) + __atomic_load_n(&switches, __ATOMIC_RELAXED);
    }
};

/// What the pages of one sum may have been. In memory, for stacks are small.
struct SvmChoices {
    std::uint32_t raw[svm_longest_sum][SvmPageLog::depth];
    std::uint32_t count[svm_longest_sum];

    void begin(std::uint32_t page) { count[page] = 0; }
    void add(std::uint32_t page, std::uint32_t sum) {
        for (std::uint32_t i = 0; i < count[page]; ++i) {
            if (raw[page][i] == sum) return;
        }
        raw[page][count[page]++] = sum;
    }
    /// Whether one of each of the first pages' raw sums gives `sum`. Uses them up. Sums are linear: a page adds its
    /// own, moved on past the pages behind it, whatever the others add.
    [[nodiscard]] bool can_give(std::uint32_t pages, std::uint32_t sum) {
        std::uint32_t rest = ~sum;
        std::uint32_t start = svm_sum_start;
        for (std::uint32_t i = 0; i < pages; ++i) {
            start = svm_sum_with(start, 0);
            for (std::uint32_t j = 0; j < i; ++j) {
                for (std::uint32_t at = 0; at < count[j]; ++at) raw[j][at] = svm_sum_with(raw[j][at], 0);
            }
        }
        rest ^= start;
        return adds_up(0, pages, rest);
    }

private:
    [[nodiscard]] bool adds_up(std::uint32_t page, std::uint32_t pages, std::uint32_t rest) const {
        if (page == pages) return rest == 0;
        for (std::uint32_t i = 0; i < count[page]; ++i) {
            if (adds_up(page + 1, pages, rest ^ raw[page][i])) return true;
        }
        return false;
    }
};

struct SvmWorld {
    // Meeting points and what ends the run.
    std::uint64_t arrived;
    std::uint64_t round;
    std::uint64_t setup_failed;
    std::uint64_t changes_done;  ///< no more changes will come
    std::uint64_t dead;          ///< the device gave no answer
    std::uint64_t mismatches;
    std::uint64_t complaints;
    std::uint64_t first_bad;  ///< gpa + 1
    std::uint64_t filler_verified;
    std::uint64_t fed;  ///< the device is done with all

    alignas(64) std::uint64_t submitted;
    alignas(64) std::uint64_t collected;
    SvmCommand commands[svm_ring_entries];
    SvmMailbox mailbox;
    SvmCounts counts;
    SvmChoices choices;  ///< the feeder's

    SvmProcess processes[svm_processes];
    SvmData data[svm_data_pages];
    std::uint32_t spare[svm_spare_pages + 1];
    std::uint32_t spares;
    SvmRetired retired[svm_most_retired];  ///< until nobody can reach them
    std::uint32_t retirees;
    SvmDrop drops[svm_most_drops];  ///< the oldest first
    std::uint32_t dropped;

    [[nodiscard]] SvmCommand& command(std::uint64_t number) { return commands[number % svm_ring_entries]; }
};

inline std::uint64_t svm_load(const std::uint64_t& word) { return __atomic_load_n(&word, __ATOMIC_ACQUIRE); }
inline void svm_store(std::uint64_t& word, std::uint64_t value) { __atomic_store_n(&word, value, __ATOMIC_RELEASE); }

}  // namespace penumbra::guest
