#include "vmm/devices/virtio/net_counters.hpp"

namespace penumbra::vmm {

std::vector<std::pair<std::string_view, std::uint64_t>> NetCounters::named(const NetLinkCounters& link) const {
    return {{"received_frames", received_frames.get()},
            {"received_bytes", received_bytes.get()},
            {"received_merged", received_merged.get()},
            {"received_dropped", received_dropped.get()},
            {"received_lost", link.received_lost.get()},
            {"sent_frames", sent_frames.get()},
            {"sent_bytes", sent_bytes.get()},
            {"sent_refused", sent_refused.get()},
            {"sent_lost", link.sent_lost.get()},
            {"sent_waits", sent_waits.get()},
            {"wanted_pages", wanted_pages.get()}};
}

}  // namespace penumbra::vmm
