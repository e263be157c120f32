// Which of two kernel versions is newer, as Debian's policy (chapter 5.6.12) and RPM order them.
#pragma once

#include <compare>
#include <string_view>

namespace penumbra::loader {

/// Numbers compare as numbers of any length, other text by characters: `~` before the end, letters before other signs.
std::strong_ordering compare_versions(std::string_view left, std::string_view right);

}  // namespace penumbra::loader
