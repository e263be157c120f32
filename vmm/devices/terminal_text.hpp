// Guest text made fit for a terminal.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace penumbra::vmm {

/// Takes one line, without its line end and already fit for a terminal. Called from any vCPU thread, with no lock held;
/// must be thread-safe.
using LineSink = std::function<void(std::string_view)>;

/// Printable ASCII stays, a tab becomes a blank, every other byte a '?': no guest can move a cursor or set a title.
[[nodiscard]] inline std::string terminal_text(std::string_view text) {
    std::string clean(text);
    for (char& c : clean) {
        if (c == '\t') c = ' ';
        if (c < 0x20 || c > 0x7E) c = '?';
    }
    return clean;
}

}  // namespace penumbra::vmm
