#include "vmm/control/run_options.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <initializer_list>
#include <limits>

#include "vmm/memory/tier/remote/endpoint.hpp"

namespace penumbra::vmm {

namespace {

constexpr std::uint64_t most_seconds = 31ULL * 24 * 3600;
constexpr unsigned most_fault_workers = 32;
constexpr std::uint64_t most_passes = 1'000'000'000;
constexpr std::uint64_t most_changes = 1'000'000'000;

/// Leaves `target` as it is when the option was not given.
template <class Target>
Result<> take_number(Target& target, std::string_view option, const std::string& text, std::uint64_t least,
                     std::uint64_t most) {
    if (text.empty()) return {};
    PENUMBRA_TRY_ASSIGN(const std::uint64_t number, parse_number(option, text, least, most));
    target = static_cast<Target>(number);
    return {};
}

Result<> take_size(std::uint64_t& target, std::string_view option, const std::string& text) {
    if (text.empty()) return {};
    PENUMBRA_TRY_ASSIGN(target, parse_size(option, text));
    return {};
}

Result<> take_swap(RunOptions& options, const std::vector<std::string>& words) {
    for (const std::string& word : words) {
        PENUMBRA_TRY_ASSIGN(SwapTier tier, parse_swap_tier(word));
        if (options.swaps_to(tier.kind)) {
            return fail("use", fmt::format("--swap '{}': the same kind of tier was given twice", word),
                        "give each kind once");
        }
        options.swap.push_back(std::move(tier));
    }
    if (options.swaps_to(SwapKind::lz4) && options.swaps_to(SwapKind::zstd))
        return fail("use", "--swap lz4 and --swap zstd: a machine compresses in one way", "choose one of them");
    std::ranges::sort(options.swap, {}, &SwapTier::kind);
    return {};
}

Result<> take_names(RunOptions& options, const RunArguments& arguments) {
    if (arguments.ring == "0") {
        options.ring = GuestRing::ring0;
    } else if (!arguments.ring.empty() && arguments.ring != "3") {
        return fail("use", fmt::format("--ring '{}': not a ring that guests run in", arguments.ring), "give 0 or 3");
    }
    if (arguments.stale_faults == "fatal") {
        options.stale_faults = StaleFaults::fatal;
    } else if (!arguments.stale_faults.empty() && arguments.stale_faults != "count") {
        return fail("use", fmt::format("--stale-faults '{}': unknown", arguments.stale_faults), "give count or fatal");
    }
    if (arguments.svm == "unsync") {
        options.svm_mode = SvmMode::unsync;
    } else if (arguments.svm == "cooperative") {
        options.svm_mode = SvmMode::cooperative;
    } else if (!arguments.svm.empty() && arguments.svm != "watch") {
        return fail("use", fmt::format("--svm '{}': unknown", arguments.svm), "give watch, unsync or cooperative");
    }
    if (!arguments.svm.empty() && !arguments.accelerator) {
        return fail("use", "--svm: there is no accelerator to share memory with", "add --accel");
    }
    if (!arguments.qmp.empty()) {
        constexpr std::string_view scheme = "unix:";
        if (!arguments.qmp.starts_with(scheme) || arguments.qmp.size() == scheme.size()) {
            return fail("use", fmt::format("--qmp '{}': not a Unix socket", arguments.qmp), "write --qmp unix:PATH");
        }
        options.qmp_path = arguments.qmp.substr(scheme.size());
    }
    return {};
}

struct Given {
    const char* name;
    bool given;
};

Result<> refuse_all(std::initializer_list<Given> options, const char* belongs_to) {
    for (const Given& option : options) {
        if (option.given) {
            return fail("use", fmt::format("{} here: it belongs to {}", option.name, belongs_to), "leave it out");
        }
    }
    return {};
}

/// Two kinds of guests, each with options of its own.
Result<> take_guest(RunOptions& options, const RunArguments& arguments) {
    LinuxOptions& os = options.guest_os;
    os.kernel = arguments.kernel;
    for (const std::string& word : arguments.disk) {
        PENUMBRA_TRY_ASSIGN(DiskChoice disk, parse_disk(word));
        os.disks.push_back(std::move(disk));
    }
    if (!options.runs_linux()) {
        return refuse_all({{"--initrd", !arguments.initrd.empty()},
                           {"--append", !arguments.append.empty()},
                           {"--loader", !arguments.loader.empty()},
                           {"--net", !arguments.net.empty()},
                           {"--virtio-console", arguments.virtio_console},
                           {"--no-reboot", arguments.no_reboot}},
                          "Linux guests (--kernel FILE)");
    }
    PENUMBRA_TRY(refuse_all({{"--image", !arguments.image.empty()},
                             {"--host-threads", arguments.host_threads},
                             {"--payload", !arguments.payload.empty()},
                             {"--seed", !arguments.seed.empty()},
                             {"--ring", !arguments.ring.empty()},
                             {"--passes", !arguments.passes.empty()},
                             {"--svm", !arguments.svm.empty()},
                             {"--changes", !arguments.changes.empty()}},
                            "freestanding guests (--image FILE)"));
    for (const std::string& word : arguments.net) {
        PENUMBRA_TRY_ASSIGN(NetChoice net, parse_net(word));
        os.nets.push_back(std::move(net));
    }
    os.initrd = arguments.initrd;
    os.append = arguments.append;
    os.loader = arguments.loader;
    os.virtio_console = arguments.virtio_console;
    if (arguments.no_reboot) os.on_reset = OnGuestReset::end;
    options.memory_bytes = linux_memory_bytes;
    return {};
}

/// An option that was given as '' would otherwise look as if it had not been given.
void refuse_empty(CLI::Option* option) {
    option->check([](const std::string& text) { return std::string{text.empty() ? "the value is empty" : ""}; });
}

}  // namespace

bool RunOptions::swaps_to(SwapKind kind) const {
    return std::ranges::any_of(swap, [kind](const SwapTier& tier) { return tier.kind == kind; });
}

Result<SwapTier> parse_swap_tier(const std::string& text) {
    constexpr std::string_view scheme = "file:";
    if (text == "lz4") return SwapTier{SwapKind::lz4, {}};
    if (text == "zstd") return SwapTier{SwapKind::zstd, {}};
    if (text.starts_with("redis:") || text.starts_with("redis+")) {
        PENUMBRA_TRY(RemoteUrl::parse(text));
        return SwapTier{SwapKind::remote, text};
    }
    if (!text.starts_with(scheme)) {
        return fail("use", fmt::format("--swap '{}': unknown tier", text),
                    "the known tiers are lz4, zstd, file:PATH and redis://HOST");
    }
    if (text.size() == scheme.size()) {
        return fail("use", fmt::format("--swap '{}': the path is empty", text), "write --swap file:PATH");
    }
    return SwapTier{SwapKind::file, text.substr(scheme.size())};
}

Result<RunOptions> parse_run_options(const RunArguments& arguments) {
    RunOptions options;
    options.image = arguments.image;
    options.payload = arguments.payload;
    options.json_path = arguments.json;
    options.accelerator = arguments.accelerator;
    if (arguments.host_threads) options.backend = Backend::host_threads;
    if (arguments.copy_only) options.take_out = TakeOutMode::copy;

    PENUMBRA_TRY(take_guest(options, arguments));
    PENUMBRA_TRY(take_size(options.memory_bytes, "--memory", arguments.memory));
    options.budget_bytes = options.memory_bytes;
    PENUMBRA_TRY(take_size(options.budget_bytes, "--budget", arguments.budget));
    PENUMBRA_TRY(take_number(options.cpus, "--cpus", arguments.cpus, 1, most_cpus));
    PENUMBRA_TRY(take_number(options.fault_workers, "--fault-workers", arguments.fault_workers, 1, most_fault_workers));
    constexpr std::uint64_t any = std::numeric_limits<std::uint64_t>::max();
    PENUMBRA_TRY(take_number(options.seed, "--seed", arguments.seed, 0, any));
    PENUMBRA_TRY(take_number(options.passes, "--passes", arguments.passes, 0, most_passes));
    PENUMBRA_TRY(take_number(options.svm_changes, "--changes", arguments.changes, 1, most_changes));
    std::uint64_t seconds = 0;
    PENUMBRA_TRY(take_number(seconds, "--time", arguments.time, 0, most_seconds));
    options.time = std::chrono::seconds{static_cast<std::int64_t>(seconds)};
    PENUMBRA_TRY(take_swap(options, arguments.swap));
    PENUMBRA_TRY(take_names(options, arguments));
    return options;
}

void declare_run_options(CLI::App& command, RunArguments& into) {
    const auto word = [&command](const char* name, std::string& target, const char* help, const char* kind) {
        CLI::Option* option = command.add_option(name, target, help)->type_name(kind);
        refuse_empty(option);
    };
    const auto words = [&command](const char* name, std::vector<std::string>& target, const char* help,
                                  const char* kind) {
        CLI::Option* option = command.add_option(name, target, help)->type_name(kind)->allow_extra_args(false);
        refuse_empty(option);
    };
    word("--kernel", into.kernel, "Linux kernel to boot: vmlinuz (bzImage) or vmlinux (ELF)", "FILE");
    word("--initrd", into.initrd, "The kernel's initial RAM disk", "FILE");
    word("--append", into.append, "The kernel's command line", "TEXT");
    words("--disk", into.disk, "Disk image or block device for Linux, as PATH[,readonly][,direct][,mmio]; repeatable",
          "DISK");
    word("--loader", into.loader,
         "Folder of the loader that starts a disk's newest kernel where no --kernel is given (default: as installed)",
         "DIR");
    words("--net", into.net,
          "Network for Linux: user[,hostfwd=tcp|udp:[ADDR]:PORT-[ADDR]:PORT][,restrict] or tap:NAME, then "
          "[,mac=MAC][,mmio]; repeatable",
          "NET");
    command.add_flag("--virtio-console", into.virtio_console, "Add a virtio console (hvc0), which then gets the input");
    command.add_flag("--no-reboot", into.no_reboot, "End the run, with success, where Linux would start again");
    word("--image", into.image, "Freestanding guest image to boot; needed unless --kernel or --host-threads", "FILE");
    word("--memory", into.memory, "Guest memory (default 1G, for Linux 512M; from 16M to 64G)", "SIZE");
    word("--budget", into.budget, "Host RAM the guest may occupy, whatever state its pages are in (default: --memory)",
         "SIZE");
    word("--cpus", into.cpus, "Virtual CPUs (default 1; at most 64)", "N");
    words("--swap", into.swap,
          "Where evicted pages go: lz4 or zstd (compressed RAM), file:PATH, redis://HOST[:PORT] (a Redis or "
          "Valkey store; also redis+unix:// and redis+cluster://); once each",
          "TIER");
    command.add_flag("--accel", into.accelerator, "Add the accelerator and let it work on guest memory too");
    words("--payload", into.payload,
          "File whose bytes fill guest memory; repeatable (default: this machine's libraries)", "FILE");
    word("--seed", into.seed, "Seed of the guest's access pattern (default 1)", "N");
    word("--ring", into.ring, "Privilege ring of the guest's work: 0 or 3 (default 3)", "RING");
    word("--passes", into.passes, "Stop after the guest checked all its memory N times (default 1 without --time)",
         "N");
    word("--svm", into.svm,
         "How the svm image has its tables followed: watch, unsync or cooperative (default watch; needs --accel)",
         "MODE");
    word("--changes", into.changes, "Changes of its tables that the svm image makes (default 100000)", "N");
    word("--time", into.time, "Stop after S seconds (Linux: press its power button); 0 means no limit (default 0)",
         "S");
    word("--fault-workers", into.fault_workers, "Threads that serve page faults (default 2; at most 32)", "N");
    command.add_flag("--no-uffd-move", into.copy_only, "Take pages out by copying, as on kernels without UFFDIO_MOVE");
    command.add_flag("--host-threads", into.host_threads, "Run the workload on threads of this process, without KVM");
    word("--stale-faults", into.stale_faults, "Faults through a stale entry: count or fatal (default count)", "WHAT");
    word("--json", into.json, "Write the closing report to FILE as JSON", "FILE");
    word("--qmp", into.qmp, "Listen for control commands (QMP) on a Unix socket", "unix:PATH");
}

}  // namespace penumbra::vmm
