#include "vmm/control/host_facts.hpp"

#include <fcntl.h>
#include <liburing.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <thread>

#include "base/unique_fd.hpp"

namespace penumbra::vmm {

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t cgroup_v1_unlimited = std::uint64_t{1} << 60;

std::string contents_of(const fs::path& path) {
    std::ifstream file{path};
    return {std::istreambuf_iterator<char>{file}, {}};
}

bool parameter_is_on(const char* module, const char* name) {
    const std::string text = contents_of(fs::path{"/sys/module"} / module / "parameters" / name);
    return text.starts_with('Y') || text.starts_with('1');
}

bool cpu_virtualizes() {
    std::ifstream file{"/proc/cpuinfo"};
    for (std::string line; std::getline(file, line);) {
        if (!line.starts_with("flags")) continue;
        const std::string flags = line + " ";
        return flags.find(" vmx ") != std::string::npos || flags.find(" svm ") != std::string::npos;
    }
    return false;
}

KvmFacts kvm_facts() {
    KvmFacts facts;
    const UniqueFd kvm{::open("/dev/kvm", O_RDWR | O_CLOEXEC)};
    facts.open_error = kvm ? 0 : errno;
    facts.flavour = kvm_flavour();
    facts.cpu_virtualizes = cpu_virtualizes();
    return facts;
}

int probe_io_uring() {
    io_uring ring{};
    const int result = ::io_uring_queue_init(2, &ring, 0);
    if (result < 0) return -result;
    ::io_uring_queue_exit(&ring);
    return 0;
}

/// The argument of the PAGEMAP_SCAN ioctl (Linux 6.7, include/uapi/linux/fs.h), which older headers lack.
struct PagemapScan {
    std::uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    std::uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
constexpr unsigned long pagemap_scan = _IOWR('f', 16, PagemapScan);
constexpr std::uint64_t page_is_present = std::uint64_t{1} << 3;

int probe_pagemap_scan() {
    const UniqueFd pagemap{::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)};
    if (!pagemap) return errno;
    PagemapScan scan{};  // an empty range is enough to learn whether the request is known
    scan.size = sizeof scan;
    scan.return_mask = page_is_present;
    return ::ioctl(pagemap.get(), pagemap_scan, &scan) < 0 ? errno : 0;
}

std::optional<std::uint64_t> limit_in(const fs::path& file) {
    const std::string text = contents_of(file);
    std::uint64_t bytes = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), bytes);
    if (code != std::errc{} || bytes >= cgroup_v1_unlimited) return std::nullopt;
    return bytes;
}

/// The tightest limit of a group and all groups around it.
std::optional<std::uint64_t> tightest_limit(const fs::path& root, fs::path group, const char* file) {
    std::optional<std::uint64_t> tightest;
    for (;;) {
        const auto limit = limit_in(root / group.relative_path() / file);
        if (limit) tightest = std::min(*limit, tightest.value_or(*limit));
        if (!group.has_relative_path()) return tightest;
        group = group.parent_path();
    }
}

/// Lines of /proc/self/cgroup are "ID:CONTROLLERS:PATH"; version 2 has no controllers named.
CgroupFacts cgroup_facts() {
    std::istringstream lines{contents_of("/proc/self/cgroup")};
    std::optional<std::string> unified;
    for (std::string line; std::getline(lines, line);) {
        const auto first = line.find(':');
        const auto second = first == std::string::npos ? first : line.find(':', first + 1);
        if (second == std::string::npos) continue;
        const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
        const std::string group = line.substr(second + 1);
        if (controllers.find(",memory,") != std::string::npos) {
            return {1, tightest_limit("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes")};
        }
        if (controllers == ",,") unified = group;
    }
    const fs::path root{"/sys/fs/cgroup"};
    const bool has_memory = contents_of(root / "cgroup.controllers").find("memory") != std::string::npos;
    if (!unified || !has_memory) return {};
    return {2, tightest_limit(root, *unified, "memory.max")};
}

std::string chosen_word(const std::string& text) {
    const auto open = text.find('[');
    const auto close = text.find(']', open == std::string::npos ? 0 : open);
    return open == std::string::npos || close == std::string::npos ? std::string{}
                                                                   : text.substr(open + 1, close - open - 1);
}

DirectIoFacts direct_io_facts(const std::string& path) {
    std::error_code ignored;
    const std::string parent = fs::path{path}.parent_path().string();
    const bool there = fs::exists(path, ignored);
    const UniqueFd file{
        there ? ::open(path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC | O_NONBLOCK)
              : ::open(parent.empty() ? "." : parent.c_str(), O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600)};
    return {path, file ? 0 : errno};
}

}  // namespace

std::string name_of(KvmFlavour flavour) {
    switch (flavour) {
        case KvmFlavour::none:
            return "none";
        case KvmFlavour::ept:
            return "ept";
        case KvmFlavour::npt:
            return "npt";
        case KvmFlavour::pvm:
            return "pvm";
        case KvmFlavour::shadow:
            return "shadow";
        case KvmFlavour::unknown:
            break;
    }
    return "unknown";
}

KvmFlavour kvm_flavour() {
    const auto loaded = [](const char* module) {
        return ::access((std::string{"/sys/module/"} + module).c_str(), F_OK) == 0;
    };
    if (loaded("kvm_pvm")) return KvmFlavour::pvm;
    if (loaded("kvm_intel")) return parameter_is_on("kvm_intel", "ept") ? KvmFlavour::ept : KvmFlavour::shadow;
    if (loaded("kvm_amd")) return parameter_is_on("kvm_amd", "npt") ? KvmFlavour::npt : KvmFlavour::shadow;
    return loaded("kvm") ? KvmFlavour::unknown : KvmFlavour::none;
}

HostFacts gather_host_facts(const std::string& swap_path, UserfaultfdFacts userfaultfd) {
    HostFacts facts;
    utsname names{};
    if (::uname(&names) == 0) facts.kernel = names.release;
    struct sysinfo info{};
    if (::sysinfo(&info) == 0) {
        facts.ram_bytes = std::uint64_t{info.totalram} * info.mem_unit;
        facts.host_swap_bytes = std::uint64_t{info.totalswap} * info.mem_unit;
    }
    facts.cpus = std::thread::hardware_concurrency();
    facts.kvm = kvm_facts();
    facts.userfaultfd = std::move(userfaultfd);
    facts.io_uring_error = probe_io_uring();
    facts.pagemap_scan_error = probe_pagemap_scan();
    facts.cgroup = cgroup_facts();
    rlimit memlock{};
    if (::getrlimit(RLIMIT_MEMLOCK, &memlock) == 0 && memlock.rlim_cur != RLIM_INFINITY) {
        facts.memlock_bytes = memlock.rlim_cur;
    }
    facts.transparent_huge_pages = chosen_word(contents_of("/sys/kernel/mm/transparent_hugepage/enabled"));
    if (!swap_path.empty()) facts.direct_io = direct_io_facts(swap_path);
    return facts;
}

}  // namespace penumbra::vmm
