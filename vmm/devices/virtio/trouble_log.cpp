#include "vmm/devices/virtio/trouble_log.hpp"

#include <fmt/format.h>

namespace penumbra::vmm {

void TroubleLog::complain(std::string_view what, std::chrono::steady_clock::time_point now) {
    ++complaints_;
    if (last_ && now - *last_ < interval) {
        ++left_out_;
        return;
    }
    last_ = now;
    if (!say_) return;
    if (left_out_ == 0) return say_(what);
    say_(fmt::format("{} ({} more complaints before this one were left out)", what, left_out_));
    left_out_ = 0;
}

}  // namespace penumbra::vmm
