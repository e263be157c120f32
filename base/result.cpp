#include "base/result.hpp"

#include <system_error>

namespace penumbra {

std::string Error::message() const {
    std::string text = "cannot " + act;
    if (!object.empty()) text += " " + object;
    if (error_number != 0) text += ": " + std::generic_category().message(error_number);
    if (!cure.empty()) text += "; " + cure;
    return text;
}

}  // namespace penumbra
