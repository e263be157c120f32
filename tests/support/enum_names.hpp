// The names of an enum's values 0 to `count`, as the compiler knows them: no table that could lag behind the enum.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <source_location>
#include <string_view>
#include <utility>

namespace penumbra::test {

/// What the compilers write between "value = " and the next ';' or ']' of a function's signature.
template <auto value>
[[nodiscard]] consteval std::string_view enumerator_name() {
    const std::string_view text = std::source_location::current().function_name();
    const std::size_t begin = text.find("value = ") + 8;
    const std::string_view full = text.substr(begin, text.find_first_of(";]", begin) - begin);
    return full.substr(full.rfind(':') + 1);
}

template <class Enum>
inline constexpr auto enum_names = []<std::size_t... i>(std::index_sequence<i...>) {
    return std::array{enumerator_name<static_cast<Enum>(i)>()...};
}(std::make_index_sequence<static_cast<std::size_t>(Enum::count)>());

/// Every value up to `count` has an enumerator: elsewhere compilers write a cast.
template <class Enum>
[[nodiscard]] consteval bool all_are_named() {
    return std::ranges::all_of(enum_names<Enum>, [](std::string_view name) {
        return !name.empty() && name.find_first_of("()<> ") == std::string_view::npos;
    });
}

template <class Enum>
[[nodiscard]] constexpr std::optional<Enum> enumerator_named(std::string_view name) {
    const auto& names = enum_names<Enum>;
    const auto found = std::ranges::find(names, name);
    if (found == names.end()) return std::nullopt;
    return static_cast<Enum>(found - names.begin());
}

}  // namespace penumbra::test
