// What the figures were measured on.
#pragma once

#include <boost/json/object.hpp>

namespace penumbra::bench {

/// Kernel, processor, KVM module, memory, and the load that others put on the machine right now.
[[nodiscard]] boost::json::object environment();

}  // namespace penumbra::bench
