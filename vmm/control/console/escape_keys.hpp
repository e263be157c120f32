// What a user types goes to the guest, all of it, except for one prefix key that speaks to Penumbra itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace penumbra::vmm {

/// Ctrl-A x: end the run. Ctrl-A Ctrl-A or Ctrl-A a: a Ctrl-A for the guest. Any other key after Ctrl-A: both keys are
/// the guest's.
class EscapeKeys {
public:
    enum class Wish : std::uint8_t { none, quit };
    struct Filtered {
        std::vector<std::byte> bytes;  ///< for the guest
        Wish wish = Wish::none;        ///< after a wish to quit nothing more is filtered
    };
    /// The prefix may come at the end of one call and its key in the next.
    [[nodiscard]] Filtered filter(std::span<const std::byte> typed);

private:
    bool after_prefix_ = false;
};

}  // namespace penumbra::vmm
