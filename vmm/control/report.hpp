// What a run did: the fixed JSON contract that programs read, and the closing table that people read. Field names below
// are the contract's names; a name, once there, keeps its meaning.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/counters.hpp"
#include "base/result.hpp"
#include "vmm/control/terminal.hpp"
#include "vmm/control/version.hpp"

namespace penumbra::vmm {

/// Microseconds. All zero when nothing was measured; `samples` tells.
struct LatencySummary {
    double p50 = 0, p99 = 0, p999 = 0, max = 0;
    std::uint64_t samples = 0;

    [[nodiscard]] static LatencySummary of(const LatencyHistogram& histogram);
};

struct MemoryReport {
    std::uint64_t guest_bytes = 0;
    std::uint64_t budget_bytes = 0;
    std::uint64_t peak_charged_bytes = 0;
    std::uint64_t pinned_bytes = 0;     ///< guest memory that cannot be taken: must be 0
    std::uint64_t io_buffer_bytes = 0;  ///< registered I/O buffers, none of them guest memory
};

struct PagerReport {
    std::uint64_t faults = 0;
    std::uint64_t swapped_out_pages = 0;
    std::uint64_t swapped_in_pages = 0;
    std::uint64_t rescued_pages = 0;  ///< taken back from limbo before they were stored
    std::uint64_t zero_pages = 0;
    std::uint64_t reclaim_passes = 0;
    LatencySummary handler_latency;  ///< from reading the message to the wake-up
    LatencySummary guest_latency;    ///< of a touch, as the guest measured it
};

struct TierReport {
    std::string name;
    std::uint64_t pages = 0;
    std::uint64_t bytes = 0;
};

struct TableReport {
    std::uint64_t mapped = 0;
    std::uint64_t zapped = 0;
    std::uint64_t faults = 0;
    std::uint64_t retries = 0;
    std::uint64_t tlb_flushes = 0;
    std::uint64_t stale_faults = 0;  ///< faults through an entry that should be gone: must be 0
};

struct TlbReport {
    std::uint64_t fills = 0;
    std::uint64_t flushes = 0;
};

/// What the accelerator did in the addresses of guest processes.
struct ProcessesReport {
    std::uint64_t commands = 0;        ///< that named a process
    std::uint64_t faults = 0;          ///< of the device, for want of a translation
    std::uint64_t guest_faults = 0;    ///< of those, that the guest's tables forbid
    std::uint64_t guest_requests = 0;  ///< page requests to the guest
    std::uint64_t waits = 0;           ///< faults that waited for the guest's time with its table to end
    std::uint64_t cooperative = 0;     ///< processes whose tables are not watched any more, for too many writes
    std::uint64_t broken_watches = 0;  ///< writes to watched tables
    std::uint64_t broken_in_use = 0;   ///< of those, that waited for the device to let a page go
    TlbReport tlb;
};

struct AcceleratorReport {
    std::uint64_t commands = 0;
    std::uint64_t bytes = 0;
    std::uint64_t page_requests = 0;
    std::uint64_t page_requests_out = 0;  ///< of those, for pages that were swapped out
    std::uint64_t mismatches = 0;
    TlbReport tlb;  ///< of guest-physical addresses
    ProcessesReport processes;
};

struct GuestReport {
    std::uint64_t pages_verified = 0;
    std::uint64_t mismatches = 0;
    std::uint64_t passes = 0;
    std::uint64_t min_verifications = 0;  ///< of the page checked least often
    struct Svm {                          ///< of the svm image
        std::uint64_t changes = 0;        ///< of tables under the accelerator's work
        std::uint64_t in_use = 0;         ///< of them, of entries that the command in hand went through
        std::uint64_t commands = 0;
        std::uint64_t bytes = 0;
        std::uint64_t page_requests = 0;
        std::uint64_t announcements = 0;
        std::uint64_t empty = 0;  ///< moments without a command in the ring
    } svm{};
    std::uint64_t resets = 0;
    std::int64_t exit_status = 0;
};

/// Named numbers of one device.
struct DeviceReport {
    std::string name;
    std::vector<std::pair<std::string, std::uint64_t>> numbers;
};

struct EnvironmentReport {
    std::string kernel;
    std::string kvm_flavour;
    std::string backend;   ///< "kvm" or "host-threads"
    std::string guest;     ///< "freestanding" or "linux"
    std::string take_out;  ///< "move" or "copy"
    unsigned cpus = 0;
    std::uint64_t seed = 0;
};

struct RunReport {
    std::string version{penumbra_version};
    /// "ok"; "reset": a Linux guest wanted to start again and was not to; "mismatch", "interrupted" or "io-error:
    /// CAUSE"
    std::string outcome = "ok";
    EnvironmentReport environment;
    MemoryReport memory;
    PagerReport pager;
    std::vector<TierReport> tiers;
    std::vector<std::pair<std::string, std::uint64_t>> invalidations;  ///< by reason
    std::uint64_t batches = 0;
    std::vector<std::pair<std::string, TableReport>> tables;
    AcceleratorReport accelerator;
    std::vector<DeviceReport> devices;
    GuestReport guest;
    double elapsed_s = 0;
    double cpu_user_s = 0;
    double cpu_system_s = 0;
};

[[nodiscard]] inline bool went_well(const RunReport& report) {
    return report.outcome == "ok" || report.outcome == "reset";
}

/// The contract's JSON, indented, keys in a fixed order, with a newline at the end.
[[nodiscard]] std::string to_json(const RunReport& report);

/// An aligned table for people, several lines.
[[nodiscard]] std::string closing_table(const RunReport& report, Colour colour);

/// Writes the JSON so that `path` holds all of it or is untouched: a temporary file beside it, then a rename.
[[nodiscard]] Result<> write_report(const std::string& path, const RunReport& report);

}  // namespace penumbra::vmm
