// How slow this host is. Where it is an emulator (tests/nested), PENUMBRA_TEST_SLOWNESS says by what factor.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string_view>

namespace penumbra::test {

/// 1 on a host of usual speed, up to 100. Sizes shrink and bounds on time grow where it is more.
[[nodiscard]] inline unsigned slowness() {
    static const unsigned factor = [] {
        const char* text = std::getenv("PENUMBRA_TEST_SLOWNESS");
        unsigned value = 1;
        if (text != nullptr) {
            const std::string_view digits(text);
            std::from_chars(digits.data(), digits.data() + digits.size(), value);
        }
        return std::clamp(value, 1U, 100U);
    }();
    return factor;
}

}  // namespace penumbra::test
