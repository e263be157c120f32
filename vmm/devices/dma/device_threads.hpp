// Whose device thread a thread is, by its number in the thread register: a stale fault is counted at the table that the
// thread went through.
#pragma once

#include <cstdint>

namespace penumbra::vmm {

/// Numbers of threads with ThreadRole::device.
enum class DeviceThread : std::uint32_t { accelerator = 0, io_loop = 1 };

}  // namespace penumbra::vmm
