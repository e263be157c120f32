// The second half of run_options.hpp: what this host has to say to the options.
#include <fmt/format.h>

#include <algorithm>

#include "base/address.hpp"
#include "vmm/control/path_checks.hpp"
#include "vmm/control/run_options.hpp"

namespace penumbra::vmm {

namespace {

constexpr std::uint64_t least_budget_floor = 16 * mib;
constexpr std::uint64_t least_budget_share = 64;  // at least 1/64 of the guest's memory

// Real pages shrink about 1.8 : 1 under LZ4.
constexpr std::uint64_t lz4_ratio_tenths = 18;

std::unexpected<Error> refused(std::string_view option, std::uint64_t bytes, std::string_view cause, std::string cure) {
    return fail("use", fmt::format("{} {}: {}", option, option_bytes(bytes), cause), std::move(cure));
}

Result<> check_aligned(std::string_view option, std::uint64_t bytes) {
    if (bytes == 0) return refused(option, bytes, "the size is zero", "give a size such as 512M");
    if (bytes % page_bytes != 0) return refused(option, bytes, "not whole pages", "give a multiple of 4K");
    return {};
}

Result<> check_sizes(RunOptions& options, std::vector<std::string>& notes) {
    PENUMBRA_TRY(check_aligned("--memory", options.memory_bytes));
    if (options.memory_bytes < least_memory_bytes) {
        return refused("--memory", options.memory_bytes, "too small for a guest", "give at least 16M");
    }
    if (options.memory_bytes > most_memory_bytes) {
        return refused("--memory", options.memory_bytes, "more than a guest can have", "give at most 64G");
    }
    PENUMBRA_TRY(check_aligned("--budget", options.budget_bytes));
    if (options.budget_bytes > options.memory_bytes) {
        notes.push_back(fmt::format("note: --budget {} is more than the guest has; using {}",
                                    option_bytes(options.budget_bytes), option_bytes(options.memory_bytes)));
        options.budget_bytes = options.memory_bytes;
    }
    const std::uint64_t least = least_budget_bytes(options.memory_bytes);
    if (options.budget_bytes < least) {
        return refused("--budget", options.budget_bytes,
                       fmt::format("too small for a guest of {}", option_bytes(options.memory_bytes)),
                       fmt::format("give at least {}", option_bytes(least)));
    }
    if (options.swap.empty() && options.budget_bytes < options.memory_bytes) {
        return refused("--budget", options.budget_bytes,
                       fmt::format("less than --memory {} with nowhere to swap to", option_bytes(options.memory_bytes)),
                       "add --swap lz4 or --swap file:PATH, or raise --budget");
    }
    return {};
}

Result<> check_swap(const RunOptions& options, std::vector<std::string>& notes) {
    for (const SwapTier& tier : options.swap) {
        if (tier.kind == SwapKind::file) PENUMBRA_TRY(check_swap_path(tier.path));
    }
    const bool lz4_alone = options.swaps_to(SwapKind::lz4) && options.swap.size() == 1;
    if (lz4_alone && options.memory_bytes * 10 > options.budget_bytes * lz4_ratio_tenths) {
        notes.push_back(
            fmt::format("warning: --memory {} will hardly fit --budget {} by compression alone (real pages "
                        "shrink about 1.8 : 1); add --swap file:PATH",
                        option_bytes(options.memory_bytes), option_bytes(options.budget_bytes)));
    }
    return {};
}

Result<> check_inputs(RunOptions& options) {
    if (options.runs_linux()) {
        PENUMBRA_TRY(complete_linux(options.guest_os));
        return check_linux(options.guest_os);
    }
    if (options.image.empty() && options.backend == Backend::kvm) {
        return fail("run", "without a guest: no --kernel or --image was given",
                    "add --kernel FILE or --image FILE, or --host-threads");
    }
    if (!options.image.empty()) PENUMBRA_TRY(check_readable_file("read the image", options.image));
    for (const std::string& path : options.payload) PENUMBRA_TRY(check_readable_file("read the payload", path));
    if (options.payload.empty()) options.payload = system_libraries();
    if (options.payload.empty()) {
        return fail("choose", "a payload: this machine has no readable shared libraries", "add --payload FILE");
    }
    return {};
}

/// What Penumbra writes must not be what it reads, nor two outputs one file.
Result<> check_outputs_apart(const RunOptions& options) {
    std::vector<std::string> taken = options.payload;
    for (const std::string& path : {options.image, options.guest_os.kernel, options.guest_os.initrd}) {
        if (!path.empty()) taken.push_back(path);
    }
    for (const DiskChoice& choice : options.guest_os.disks) taken.push_back(choice.disk.path);
    std::vector<std::string> outputs;
    for (const SwapTier& tier : options.swap) {
        if (tier.kind == SwapKind::file) outputs.push_back(tier.path);
    }
    if (!options.json_path.empty()) outputs.push_back(options.json_path);
    if (!options.qmp_path.empty()) outputs.push_back(options.qmp_path);
    for (const std::string& output : outputs) {
        if (std::ranges::any_of(taken, [&](const std::string& path) { return same_file(path, output); })) {
            return fail("write", output + ": another option names the same file", "give every option its own file");
        }
        taken.push_back(output);
    }
    return {};
}

}  // namespace

std::uint64_t least_budget_bytes(std::uint64_t memory_bytes) {
    const std::uint64_t share = (memory_bytes / least_budget_share + page_bytes - 1) / page_bytes * page_bytes;
    return std::max(least_budget_floor, share);
}

Result<ValidatedRun> validate(RunOptions options) {
    std::vector<std::string> notes;
    PENUMBRA_TRY(check_sizes(options, notes));
    // The parser holds these too; options also come from programs.
    if (options.cpus == 0 || options.cpus > most_cpus) {
        return fail("use", fmt::format("--cpus {}: out of range", options.cpus), "give a whole number from 1 to 64");
    }
    if (options.time.count() < 0) return fail("use", "--time below zero", "give 0 or more seconds");
    PENUMBRA_TRY(check_inputs(options));
    PENUMBRA_TRY(check_swap(options, notes));
    if (!options.json_path.empty()) PENUMBRA_TRY(check_report_path(options.json_path));
    if (!options.qmp_path.empty()) PENUMBRA_TRY(check_socket_path(options.qmp_path));
    PENUMBRA_TRY(check_outputs_apart(options));
    if (!options.runs_linux() && options.passes == 0 && options.time.count() == 0) options.passes = 1;
    return ValidatedRun{std::move(options), std::move(notes)};
}

}  // namespace penumbra::vmm
