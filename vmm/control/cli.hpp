// The command line of the one binary. main() only wires: what a subcommand does comes in as a handler.
#pragma once

#include <functional>

#include "vmm/control/host_facts.hpp"
#include "vmm/control/run_options.hpp"

namespace penumbra::vmm {

/// What the binary's exit status says.
enum class ExitStatus : int { good = 0, failed_check = 1, bad_use = 2 };

struct Handlers {
    /// Runs with validated options and returns the exit status.
    std::function<int(const RunOptions&)> run;
    std::function<UserfaultfdFacts()> userfaultfd_facts;
};

/// Reads the command line, refuses bad use in one line on stderr, and calls the handler. Returns the exit status.
[[nodiscard]] int cli_main(int argc, char** argv, const Handlers& handlers);

/// "penumbra: cannot ...: cause; cure" on stderr, in one line whatever the error holds.
void print_error(const Error& error);

}  // namespace penumbra::vmm
