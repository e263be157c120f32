#include "vmm/control/cli.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "vmm/control/doctor.hpp"
#include "vmm/control/version.hpp"

namespace penumbra::vmm {

namespace {

constexpr auto general_footer = R"(
Examples:
  penumbra doctor
  penumbra run --kernel vmlinuz --initrd initrd.img --append console=ttyS0
  penumbra run --image GUEST --memory 1G --budget 256M --swap lz4 --swap file:/var/tmp/guest.swap

Exit status: 0 good, 1 failed check, 2 bad use.)";

constexpr auto run_footer = R"(
SIZE is a whole number of bytes, or one with K, M or G (powers of two).
Memory above the budget goes to the swap tiers: lz4 first, then the file. The file must be new or empty.

A Linux guest's first serial port (ttyS0) is this terminal, raw: Ctrl-A x ends the run, Ctrl-A a sends Ctrl-A.

Examples:
  penumbra run --kernel vmlinuz --initrd initrd.img --append console=ttyS0 --cpus 2 --memory 512M
  penumbra run --kernel vmlinuz --append "console=ttyS0 root=/dev/vda1" --disk root.img --budget 256M --swap lz4
  penumbra run --image GUEST --time 30
  penumbra run --image GUEST --memory 1G --budget 600M --swap lz4 --json report.json
  penumbra run --image GUEST --memory 4G --budget 512M --cpus 2 --swap lz4 --swap file:/var/tmp/guest.swap --accel
  penumbra run --host-threads --memory 256M --budget 64M --swap file:/var/tmp/guest.swap

Exit status: 0 all checks held and the guest ended the run, 1 not so, 2 bad use (nothing was started).)";

constexpr auto doctor_footer = R"(
Examples:
  penumbra doctor
  penumbra doctor --json --swap file:/var/tmp/guest.swap

Exit status: 0 `penumbra run` works here with KVM, 1 it does not, 2 bad use.)";

struct DoctorArguments {
    bool json = false;
    std::string swap;
};

int status(ExitStatus exit) { return static_cast<int>(exit); }

int bad_use(const Error& error) {
    print_error(error);
    return status(ExitStatus::bad_use);
}

/// Text that the user asked for. Losing it, say on a full disk, is a failure.
int print(const std::string& text, ExitStatus exit) {
    const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
    if (written && std::fflush(stdout) == 0) return status(exit);
    print_error(fail_errno("write to", "standard output").error());
    return status(ExitStatus::failed_check);
}

int run_command(const RunArguments& arguments, const Handlers& handlers) {
    auto options = parse_run_options(arguments);
    if (!options) return bad_use(options.error());
    auto checked = validate(std::move(*options));
    if (!checked) return bad_use(checked.error());
    for (const std::string& note : checked->notes) fmt::print(stderr, "penumbra: {}\n", one_line(note));
    return handlers.run(checked->options);
}

int doctor_command(const DoctorArguments& arguments, const Handlers& handlers) {
    std::string swap_path;
    if (!arguments.swap.empty()) {
        const auto tier = parse_swap_tier(arguments.swap);
        if (!tier) return bad_use(tier.error());
        swap_path = tier->path;
    }
    const HostFacts facts = gather_host_facts(swap_path, handlers.userfaultfd_facts());
    const Diagnosis diagnosis = diagnose(facts);
    const ExitStatus exit = diagnosis.can_run ? ExitStatus::good : ExitStatus::failed_check;
    return print(arguments.json ? doctor_json(diagnosis, facts) : doctor_table(diagnosis, colour_for(stdout)), exit);
}

/// One error for all that CLI11 refuses; its own messages may span lines.
int refuse_command_line(const CLI::App& app, const CLI::ParseError& error) {
    const auto chosen = app.get_subcommands();
    const std::string help = chosen.empty() ? "penumbra --help" : "penumbra " + chosen.front()->get_name() + " --help";
    const auto unknown = app.remaining(true);
    if (!unknown.empty()) {
        const bool is_option = unknown.front().starts_with('-');
        const bool is_command = !is_option && chosen.empty();
        return bad_use({"understand",
                        fmt::format("'{}': {}", unknown.front(),
                                    is_option    ? "unknown option"
                                    : is_command ? "unknown command"
                                                 : "not expected here"),
                        0, is_command ? "the commands are run and doctor; see penumbra --help" : "see " + help});
    }
    return bad_use({"understand", fmt::format("the command line: {}", error.what()), 0, "see " + help});
}

int dispatch(int argc, char** argv, const Handlers& handlers) {
    RunArguments run_arguments;
    DoctorArguments doctor_arguments;
    CLI::App app{"Penumbra: a virtual machine monitor in which nothing that maps guest memory pins it.", "penumbra"};
    app.set_version_flag("--version", fmt::format("penumbra {}", penumbra_version));
    app.footer(general_footer);
    app.require_subcommand(0, 1);

    CLI::App* run = app.add_subcommand("run", "Run a guest within a RAM budget and check its memory");
    declare_run_options(*run, run_arguments);
    run->footer(run_footer);

    CLI::App* doctor = app.add_subcommand("doctor", "Say what this host offers and what to do about each lack");
    doctor->add_flag("--json", doctor_arguments.json, "Print JSON for programs");
    doctor->add_option("--swap", doctor_arguments.swap, "Also look at a swap path")->type_name("file:PATH");
    doctor->footer(doctor_footer);

    try {
        app.parse(argc, argv);
    } catch (const CLI::CallForHelp&) {
        return print(app.help(), ExitStatus::good);
    } catch (const CLI::CallForVersion& version) {
        return print(std::string{version.what()} + "\n", ExitStatus::good);
    } catch (const CLI::ParseError& error) {
        return refuse_command_line(app, error);
    }
    if (run->parsed()) return run_command(run_arguments, handlers);
    if (doctor->parsed()) return doctor_command(doctor_arguments, handlers);
    return bad_use({"start: no command was given", "", 0, "the commands are run and doctor; see penumbra --help"});
}

}  // namespace

void print_error(const Error& error) { fmt::print(stderr, "penumbra: {}\n", one_line(error.message())); }

int cli_main(int argc, char** argv, const Handlers& handlers) {
    try {
        return dispatch(argc, argv, handlers);
    } catch (const std::exception& error) {
        // Out of memory and the like: nothing here throws on purpose.
        print_error({std::string{"go on: "} + error.what(), "", 0, ""});
        return status(ExitStatus::failed_check);
    }
}

}  // namespace penumbra::vmm
