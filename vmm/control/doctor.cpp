#include "vmm/control/doctor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

#include "vmm/control/size_text.hpp"

namespace penumbra::vmm {

namespace {

/// Bits of the mask the kernel answers UFFDIO_API with, from bit 0 up.
constexpr std::array feature_name_of_bit{"WP",
                                         "EVENT_FORK",
                                         "EVENT_REMAP",
                                         "EVENT_REMOVE",
                                         "MISSING_HUGETLBFS",
                                         "MISSING_SHMEM",
                                         "EVENT_UNMAP",
                                         "SIGBUS",
                                         "THREAD_ID",
                                         "MINOR_HUGETLBFS",
                                         "MINOR_SHMEM",
                                         "EXACT_ADDRESS",
                                         "WP_SHMEM",
                                         "WP_UNPOPULATED",
                                         "POISON",
                                         "WP_ASYNC",
                                         "MOVE"};
constexpr std::uint64_t feature_wp = std::uint64_t{1} << 0;
constexpr std::uint64_t feature_thread_id = std::uint64_t{1} << 8;
constexpr std::uint64_t feature_move = std::uint64_t{1} << 16;

constexpr std::uint64_t least_useful_memlock = 8 * mib;

std::string errno_text(int number) { return std::generic_category().message(number); }

Finding kvm_finding(const KvmFacts& kvm) {
    Finding finding{.item = "KVM"};
    if (kvm.open_error != 0) {
        finding.standing = Standing::missing;
        finding.found = "/dev/kvm: " + errno_text(kvm.open_error);
        finding.means = "no guest runs; --host-threads still does";
        if (kvm.open_error == EACCES || kvm.open_error == EPERM) {
            finding.cure = "join the group that owns /dev/kvm (usually kvm) and log in again";
        } else if (kvm.cpu_virtualizes) {
            finding.cure = "load the module: modprobe kvm_intel or kvm_amd";
        } else {
            finding.cure = "turn virtualization on in the firmware, or nested virtualization in the outer host";
        }
        return finding;
    }
    finding.found = "/dev/kvm opens, " + name_of(kvm.flavour);
    if (kvm.flavour == KvmFlavour::ept || kvm.flavour == KvmFlavour::npt) {
        finding.means = "hardware page tables: full speed, all guests";
    } else {
        finding.standing = Standing::limited;
        finding.means = "no hardware page tables known: slower faults; ring 0 may be interpreted";
        finding.cure = "prefer --ring 3; for full speed use a host with EPT or NPT";
    }
    return finding;
}

Finding userfaultfd_finding(const UserfaultfdFacts& facts) {
    Finding finding{.item = "userfaultfd"};
    if (!facts.available) {
        finding.standing = Standing::missing;
        finding.found = facts.why.act.empty() ? "not available" : facts.why.message();
        finding.means = "Penumbra cannot page guest memory";
        finding.cure = "give this user /dev/userfaultfd, or sysctl vm.unprivileged_userfaultfd=1, or CAP_SYS_PTRACE";
        return finding;
    }
    finding.found = fmt::format("by {}: {}", facts.how, feature_names(facts.features));
    const bool takes_out = (facts.features & (feature_move | feature_wp)) != 0;
    if (!takes_out || (facts.features & feature_thread_id) == 0) {
        finding.standing = Standing::missing;
        finding.means = "pages cannot be taken out of a running guest safely";
        finding.cure = "use Linux 6.1 or newer";
    } else if ((facts.features & feature_move) == 0) {
        finding.standing = Standing::limited;
        finding.means = "no MOVE: pages are taken out by copying, which is slower";
        finding.cure = "use Linux 6.8 or newer";
    } else {
        finding.means = "pages move out of a running guest without a copy";
    }
    return finding;
}

Finding io_uring_finding(int error) {
    if (error == 0) return {"io_uring", Standing::ok, "available", "swap files work", ""};
    return {"io_uring", Standing::missing, errno_text(error), "--swap file:PATH does not work; --swap lz4 does",
            error == EPERM ? "sysctl kernel.io_uring_disabled=0, or allow it in the container's seccomp profile"
                           : "use a kernel with CONFIG_IO_URING"};
}

Finding pagemap_finding(int error) {
    if (error == 0) return {"PAGEMAP_SCAN", Standing::ok, "available", "residency is checked in one call", ""};
    return {"PAGEMAP_SCAN", Standing::limited, errno_text(error), "residency is checked page by page",
            "use Linux 6.7 or newer"};
}

Finding cgroup_finding(const CgroupFacts& cgroup) {
    const std::string limit = cgroup.limit_bytes ? human_bytes(*cgroup.limit_bytes) : "no limit";
    if (cgroup.version == 0) {
        return {"memory cgroup", Standing::limited, "none", "only Penumbra's own budget bounds a guest",
                "mount the memory controller for a second bound"};
    }
    return {"memory cgroup", Standing::ok, fmt::format("version {}, {}", cgroup.version, limit),
            cgroup.limit_bytes ? "keep --budget well below this" : "only --budget bounds a guest", ""};
}

Finding memlock_finding(const HostFacts& facts) {
    if (!facts.memlock_bytes) return {"memlock limit", Standing::ok, "unlimited", "I/O buffers can be registered", ""};
    if (*facts.memlock_bytes >= least_useful_memlock) {
        return {"memlock limit", Standing::ok, human_bytes(*facts.memlock_bytes), "enough for I/O buffers", ""};
    }
    return {"memlock limit", Standing::limited, human_bytes(*facts.memlock_bytes),
            "I/O buffers may not be registered: file swap is slower", "ulimit -l 8192 or more"};
}

Finding huge_page_finding(const std::string& setting) {
    if (setting == "always") {
        return {"huge pages", Standing::limited, setting, "the host may back memory with huge pages, which evict whole",
                "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"};
    }
    return {"huge pages", Standing::ok, setting.empty() ? "not in this kernel" : setting, "pages are handled singly",
            ""};
}

Finding direct_io_finding(const DirectIoFacts& direct) {
    if (direct.open_error == 0) {
        return {"O_DIRECT", Standing::ok, direct.path, "swap bypasses the host's page cache", ""};
    }
    return {"O_DIRECT", Standing::missing, direct.path + ": " + errno_text(direct.open_error),
            "this path cannot hold the swap file", "choose a writable path on a local disk file system"};
}

}  // namespace

std::string feature_names(std::uint64_t features) {
    std::string names = "MISSING";  // what every userfaultfd can do
    for (std::size_t bit = 0; bit < 64; ++bit) {
        if ((features >> bit & 1) == 0) continue;
        names += bit < feature_name_of_bit.size() ? fmt::format(" {}", feature_name_of_bit[bit])
                                                  : fmt::format(" bit{}", bit);
    }
    return names;
}

Diagnosis diagnose(const HostFacts& facts) {
    Diagnosis diagnosis;
    auto& findings = diagnosis.findings;
    findings.push_back({"kernel", Standing::ok, facts.kernel, "Linux 6.8 or newer is best, 6.1 is enough", ""});
    findings.push_back({"machine", Standing::ok, fmt::format("{} CPUs, {}", facts.cpus, human_bytes(facts.ram_bytes)),
                        "the sum of all budgets has to fit here", ""});
    findings.push_back(kvm_finding(facts.kvm));
    findings.push_back(userfaultfd_finding(facts.userfaultfd));
    diagnosis.can_run =
        std::ranges::none_of(findings, [](const Finding& f) { return f.standing == Standing::missing; });
    findings.push_back(io_uring_finding(facts.io_uring_error));
    findings.push_back(pagemap_finding(facts.pagemap_scan_error));
    findings.push_back(cgroup_finding(facts.cgroup));
    findings.push_back(memlock_finding(facts));
    findings.push_back({"host swap", Standing::ok,
                        facts.host_swap_bytes == 0 ? "none" : human_bytes(facts.host_swap_bytes),
                        "not needed: Penumbra brings its own", ""});
    findings.push_back(huge_page_finding(facts.transparent_huge_pages));
    if (facts.direct_io) findings.push_back(direct_io_finding(*facts.direct_io));
    return diagnosis;
}

}  // namespace penumbra::vmm
