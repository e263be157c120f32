#include "vmm/control/console/escape_keys.hpp"

namespace penumbra::vmm {

namespace {
constexpr std::byte prefix{0x01};
}

EscapeKeys::Filtered EscapeKeys::filter(std::span<const std::byte> typed) {
    Filtered filtered;
    for (const std::byte key : typed) {
        if (!after_prefix_) {
            after_prefix_ = key == prefix;
            if (!after_prefix_) filtered.bytes.push_back(key);
            continue;
        }
        after_prefix_ = false;
        if (key == std::byte{'x'}) {
            filtered.wish = Wish::quit;
            break;
        }
        filtered.bytes.push_back(prefix);
        if (key != prefix && key != std::byte{'a'}) filtered.bytes.push_back(key);
    }
    return filtered;
}

}  // namespace penumbra::vmm
