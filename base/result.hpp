// Errors are values: what failed, on which object, the kernel's errno and, where a person can act, the cure.
#pragma once

#include <cerrno>
#include <expected>
#include <string>
#include <utility>

namespace penumbra {

/// A failed act. `act` is a phrase such as "open the swap file"; `object` names the thing concerned; `error_number` is
/// 0 where the kernel had no part in it; `cure` is what the user can do, or empty.
struct Error {
    std::string act;
    std::string object;
    int error_number = 0;
    std::string cure;

    /// One line for people: "cannot open the swap file /x: No space left on device; free some space".
    [[nodiscard]] std::string message() const;
};

template <class T = void>
using Result = std::expected<T, Error>;

[[nodiscard]] inline std::unexpected<Error> fail(std::string act, std::string object = {}, std::string cure = {}) {
    return std::unexpected{Error{std::move(act), std::move(object), 0, std::move(cure)}};
}
/// As fail(), with the errno of the system call that just returned.
[[nodiscard]] inline std::unexpected<Error> fail_errno(std::string act, std::string object = {},
                                                       std::string cure = {}) {
    const int error_number = errno;
    return std::unexpected{Error{std::move(act), std::move(object), error_number, std::move(cure)}};
}

}  // namespace penumbra

/// Returns the error of `expression` from the enclosing function, or goes on.
#define PENUMBRA_TRY(expression)                                                  \
    do {                                                                          \
        if (auto penumbra_result = (expression); !penumbra_result) [[unlikely]] { \
            return std::unexpected{std::move(penumbra_result).error()};           \
        }                                                                         \
    } while (false)

#define PENUMBRA_CONCAT_(a, b) a##b
#define PENUMBRA_CONCAT(a, b) PENUMBRA_CONCAT_(a, b)
#define PENUMBRA_TRY_ASSIGN_(name, target, expression)   \
    auto name = (expression);                            \
    if (!name) [[unlikely]]                              \
        return std::unexpected{std::move(name).error()}; \
    target = std::move(*name)
/// PENUMBRA_TRY_ASSIGN(auto fd, open_it()): unwraps a Result or returns its error.
#define PENUMBRA_TRY_ASSIGN(target, expression) \
    PENUMBRA_TRY_ASSIGN_(PENUMBRA_CONCAT(penumbra_result_, __LINE__), target, expression)
