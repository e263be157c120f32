// A memory cgroup (version 1) of the benchmark's own.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "base/result.hpp"

namespace penumbra::bench {

struct MemoryCgroupOptions {
    std::uint64_t limit_bytes = 0;
    unsigned swappiness = 0;  ///< 0: nothing in it is ever swapped, what does not fit is killed
};

class MemoryCgroup {
public:
    [[nodiscard]] static Result<MemoryCgroup> create(const std::string& name, const MemoryCgroupOptions& options);
    MemoryCgroup(MemoryCgroup&& other) noexcept : folder_(std::exchange(other.folder_, {})) {}
    MemoryCgroup& operator=(MemoryCgroup&&) = delete;
    /// Its processes must have ended.
    ~MemoryCgroup();

    /// Puts the calling process in. `folder` is another process's folder().
    [[nodiscard]] static Result<> enter(const std::string& folder);
    [[nodiscard]] const std::string& folder() const { return folder_; }
    /// Bytes charged now, but for the page cache, which goes when memory is short.
    [[nodiscard]] Result<std::uint64_t> used() const;
    /// Bytes of its processes that are in swap now.
    [[nodiscard]] Result<std::uint64_t> swapped() const;
    /// Has the kernel add up what it knows of the cgroup's LRU lists. Without it a cgroup with a KVM guest was seen to
    /// run out of memory with swap to spare; called every 20 ms it was not. Likely, not traced: a limit's reclaim looks
    /// at sums that are up to two seconds old (mm/vmscan.c: inactive_is_low) and leaves the active list alone even
    /// where the inactive one is empty by now.
    void refresh_counts() const { (void)swapped(); }

private:
    explicit MemoryCgroup(std::string folder) : folder_(std::move(folder)) {}
    std::string folder_;  // empty once moved from
};

}  // namespace penumbra::bench
