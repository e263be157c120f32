// The expressions of GRUB's `test` and `[`.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace penumbra::loader {

enum class FileTest { exists, folder, not_empty };

/// `words` without the closing bracket. -a binds tighter than -o; there are no parentheses. What makes no sense is
/// false.
[[nodiscard]] bool grub_test(const std::vector<std::string>& words,
                             const std::function<bool(std::string_view, FileTest)>& file);

}  // namespace penumbra::loader
