// Boost.JSON values as indented text; the library itself only writes one line.
#pragma once

#include <boost/json/value.hpp>
#include <string>

namespace penumbra::vmm {

/// Two spaces per level, members in the order they were added, a newline at the end. Numbers that JSON cannot say
/// (infinities, not-a-number) become 0.
[[nodiscard]] std::string indented_json(const boost::json::value& value);

}  // namespace penumbra::vmm
