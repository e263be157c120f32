// What `penumbra run` was asked to do: read from the command line, then checked against this host before anything
// starts. No check leaves anything behind.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "vmm/control/linux_options.hpp"
#include "vmm/control/size_text.hpp"
#include "vmm/memory/window.hpp"

namespace CLI {
class App;
}

namespace penumbra::vmm {

/// In the order a page travels through them.
enum class SwapKind : std::uint8_t { lz4, zstd, file, remote };

struct SwapTier {
    SwapKind kind = SwapKind::lz4;
    std::string path;  ///< of the swap file; the URL of the remote store; empty for lz4 and zstd

    friend bool operator==(const SwapTier&, const SwapTier&) = default;
};

enum class Backend : std::uint8_t { kvm, host_threads };
enum class GuestRing : std::uint8_t { ring0 = 0, ring3 = 3 };
/// How the processes of the svm image let the accelerator know of changes of their tables.
enum class SvmMode : std::uint8_t { watch = 0, unsync = 1, cooperative = 2 };
enum class StaleFaults : std::uint8_t { count, fatal };

/// Sizes in bytes. Paths as given.
struct RunOptions {
    std::string image;                 ///< may be empty with Backend::host_threads; and is for Linux guests
    LinuxOptions guest_os;             ///< empty for freestanding guests
    std::vector<std::string> payload;  ///< files whose bytes fill a freestanding guest's memory; not empty then
    std::uint64_t memory_bytes = gib;
    std::uint64_t budget_bytes = gib;
    std::vector<SwapTier> swap;  ///< at most one of each kind, and of lz4 and zstd, in the order of SwapKind
    unsigned cpus = 1;
    unsigned fault_workers = 2;
    std::uint64_t seed = 1;
    std::uint64_t passes = 0;      ///< stop after this many; 0 means no limit
    std::chrono::seconds time{0};  ///< stop after this long; 0 means no limit
    GuestRing ring = GuestRing::ring3;
    Backend backend = Backend::kvm;
    TakeOutMode take_out = TakeOutMode::move;
    StaleFaults stale_faults = StaleFaults::count;
    SvmMode svm_mode = SvmMode::watch;
    std::uint64_t svm_changes = 100'000;  ///< that the svm image makes
    bool accelerator = false;
    std::string json_path;  ///< empty: no report file
    std::string qmp_path;   ///< of the control socket; empty: none

    [[nodiscard]] bool swaps_to(SwapKind kind) const;
    [[nodiscard]] bool compresses() const { return swaps_to(SwapKind::lz4) || swaps_to(SwapKind::zstd); }
    [[nodiscard]] bool runs_linux() const { return !guest_os.empty(); }
};

/// The words of the command line, not yet understood.
struct RunArguments {
    std::string image, memory, budget, cpus, json, time, seed, ring, passes, fault_workers, qmp, stale_faults, svm,
        changes;
    std::string kernel, initrd, append, loader;
    std::vector<std::string> swap, payload, disk, net;
    bool virtio_console = false;
    bool no_reboot = false;
    bool accelerator = false;
    bool copy_only = false;
    bool host_threads = false;
};

/// Adds the options of `run` to a parser; `into` must outlive it.
void declare_run_options(CLI::App& command, RunArguments& into);

/// Turns words into options: sizes, numbers, names, defaults. Touches nothing on the host.
[[nodiscard]] Result<RunOptions> parse_run_options(const RunArguments& arguments);

/// "lz4", "zstd", "file:PATH", or the URL of a Redis or Valkey store (RemoteUrl::parse).
[[nodiscard]] Result<SwapTier> parse_swap_tier(const std::string& text);

struct ValidatedRun {
    RunOptions options;
    std::vector<std::string> notes;  ///< one line each for the user: what was changed, what may go wrong
};

inline constexpr std::uint64_t linux_memory_bytes = 512 * mib;  ///< unless the user says otherwise
inline constexpr std::uint64_t least_memory_bytes = 16 * mib;
inline constexpr std::uint64_t most_memory_bytes = 64 * gib;
inline constexpr unsigned most_cpus = 64;

/// The smallest budget a guest of `memory_bytes` can run in: room for its working pages and the pager's own.
[[nodiscard]] std::uint64_t least_budget_bytes(std::uint64_t memory_bytes);

/// Everything that can be refused before a VM exists: ranges, and what the paths name. Completes the options (payload,
/// clamped budget, passes).
[[nodiscard]] Result<ValidatedRun> validate(RunOptions options);

}  // namespace penumbra::vmm
