#include "bench/common/memory_cgroup.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "bench/common/kernel_files.hpp"

namespace penumbra::bench {

namespace {

/// Where the controller's hierarchy is mounted, or empty.
std::string memory_hierarchy() {
    std::ifstream mounts{"/proc/mounts"};
    for (std::string line; std::getline(mounts, line);) {
        std::istringstream words{line};
        std::string device;
        std::string folder;
        std::string type;
        std::string options;
        words >> device >> folder >> type >> options;
        if (type == "cgroup" && ("," + options + ",").find(",memory,") != std::string::npos) return folder;
    }
    return {};
}

}  // namespace

Result<MemoryCgroup> MemoryCgroup::create(const std::string& name, const MemoryCgroupOptions& options) {
    const std::string root = memory_hierarchy();
    if (root.empty()) {
        return fail("find", "the memory controller of cgroup version 1",
                    "mount it: mount -t cgroup -o memory memory /sys/fs/cgroup/memory");
    }
    std::string folder = root + "/penumbra-bench-" + name + "-" + std::to_string(::getpid());
    constexpr mode_t mode = 0755;
    if (::mkdir(folder.c_str(), mode) != 0) return fail_errno("make the memory cgroup", folder, "run as root");
    MemoryCgroup group{std::move(folder)};
    PENUMBRA_TRY(write_text(group.folder_ + "/memory.limit_in_bytes", std::to_string(options.limit_bytes)));
    PENUMBRA_TRY(write_text(group.folder_ + "/memory.swappiness", std::to_string(options.swappiness)));
    return group;
}

MemoryCgroup::~MemoryCgroup() {
    if (!folder_.empty()) (void)::rmdir(folder_.c_str());
}

Result<> MemoryCgroup::enter(const std::string& folder) { return write_text(folder + "/cgroup.procs", "0"); }

Result<std::uint64_t> MemoryCgroup::used() const {
    PENUMBRA_TRY_ASSIGN(const std::uint64_t anonymous, read_counter(folder_ + "/memory.stat", "rss"));
    PENUMBRA_TRY_ASSIGN(const std::string kernel, read_text(folder_ + "/memory.kmem.usage_in_bytes"));
    return anonymous + std::strtoull(kernel.c_str(), nullptr, 10);
}

Result<std::uint64_t> MemoryCgroup::swapped() const { return read_counter(folder_ + "/memory.stat", "swap"); }

}  // namespace penumbra::bench
