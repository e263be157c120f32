// Finding a line of GRUB's menu.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "guest-images/linux/loader/grub_machine.hpp"

namespace penumbra::loader {

/// As GRUB reads $default: a number, an id or a title; `>` goes into submenus. Empty is the first. A submenu stands for
/// its first entry. Null if there is none.
[[nodiscard]] const MenuItem* find_entry(const std::vector<MenuItem>& menu, std::string_view name);

/// The first entry whose id fits a pattern with `*`, with or without ".conf". Null for an empty pattern.
[[nodiscard]] const MenuItem* match_entry(const std::vector<MenuItem>& menu, std::string_view pattern);

/// The entries in the menu's order, submenus' included, at most `limit`.
[[nodiscard]] std::vector<const MenuItem*> all_entries(const std::vector<MenuItem>& menu, std::size_t limit);

}  // namespace penumbra::loader
