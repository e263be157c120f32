// Gathers a run's figures into its report.
#pragma once

#include "vmm/control/progress.hpp"
#include "vmm/control/report.hpp"
#include "vmm/machine.hpp"

namespace penumbra::vmm {

/// Everything but outcome and times.
[[nodiscard]] RunReport collect_report(Machine& machine);
[[nodiscard]] ProgressState collect_progress(Machine& machine);

/// Guest memory that cannot be taken: locked and pinned pages of this process (VmLck, VmPin of /proc/self/status)
/// without the registered I/O buffers, which never lie in the window. Nothing else pins: no I/O ever targets the
/// window.
[[nodiscard]] std::uint64_t pinned_guest_bytes(std::uint64_t io_buffer_bytes);

}  // namespace penumbra::vmm
