// `penumbra run`: one machine from start to closing table.
#pragma once

#include "vmm/control/run_options.hpp"

namespace penumbra::vmm {

/// Returns the exit status: 0 all checks held, 1 one did not, 2 the machine could not be made.
[[nodiscard]] int run_machine(const RunOptions& options);

}  // namespace penumbra::vmm
