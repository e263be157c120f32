// What this host offers, as bare facts. Judging them is doctor.hpp's part, so that a test can judge a made-up host.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.hpp"

namespace penumbra::vmm {

/// What the wrapper of userfaultfd found. `how` says which door was open: "/dev/userfaultfd" or "system call".
struct UserfaultfdFacts {
    bool available = false;  ///< a descriptor that also serves the kernel's own faults can be had
    std::string how;
    std::uint64_t features = 0;  ///< the kernel's UFFD_FEATURE_* mask
    Error why;                   ///< when not available
};

enum class KvmFlavour : std::uint8_t { none, ept, npt, pvm, shadow, unknown };

/// "ept", "npt", "pvm", ... as reports name it.
[[nodiscard]] std::string name_of(KvmFlavour flavour);

struct KvmFacts {
    int open_error = 0;  ///< errno of opening /dev/kvm, 0 when it opened
    KvmFlavour flavour = KvmFlavour::none;
    bool cpu_virtualizes = false;  ///< the CPU shows VMX or SVM
};

struct CgroupFacts {
    int version = 0;  ///< of the memory controller: 1, 2, or 0 when there is none
    std::optional<std::uint64_t> limit_bytes;
};

struct DirectIoFacts {
    std::string path;
    int open_error = 0;
};

struct HostFacts {
    std::string kernel;
    std::uint64_t ram_bytes = 0;
    std::uint64_t host_swap_bytes = 0;
    unsigned cpus = 0;
    KvmFacts kvm;
    UserfaultfdFacts userfaultfd;
    int io_uring_error = 0;
    int pagemap_scan_error = 0;
    CgroupFacts cgroup;
    std::optional<std::uint64_t> memlock_bytes;  ///< empty: unlimited
    std::string transparent_huge_pages;          ///< "always", "madvise", "never", or empty when absent
    std::optional<DirectIoFacts> direct_io;      ///< only when a swap path was named
};

/// Looks at the running host. Opens and closes what it asks about; changes nothing. `swap_path` may be empty.
[[nodiscard]] HostFacts gather_host_facts(const std::string& swap_path, UserfaultfdFacts userfaultfd);

/// Only the flavour, for reports.
[[nodiscard]] KvmFlavour kvm_flavour();

}  // namespace penumbra::vmm
