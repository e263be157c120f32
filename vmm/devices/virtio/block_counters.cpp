#include "vmm/devices/virtio/block_counters.hpp"

namespace penumbra::vmm {

std::vector<std::pair<std::string_view, std::uint64_t>> BlockCounters::named() const {
    return {{"reads", reads.get()},
            {"writes", writes.get()},
            {"flushes", flushes.get()},
            {"discards", discards.get()},
            {"write_zeroes", write_zeroes.get()},
            {"read_bytes", read_bytes.get()},
            {"written_bytes", written_bytes.get()},
            {"wanted_pages", wanted_pages.get()},
            {"kernel_requests", kernel_requests.get()},
            {"bounced", bounced.get()},
            {"bounced_bytes", bounced_bytes.get()},
            {"errors", errors.get()},
            {"refused", refused.get()},
            {"latency_p50_ns", latency.quantile_ns(500)},
            {"latency_p99_ns", latency.quantile_ns(990)},
            {"latency_max_ns", latency.max_ns()}};
}

}  // namespace penumbra::vmm
