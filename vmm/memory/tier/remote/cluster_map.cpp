#include "vmm/memory/tier/remote/cluster_map.hpp"

#include <algorithm>
#include <optional>

namespace penumbra::vmm {

namespace {

bool is_number(const redisReply& reply, long long least, long long most) {
    return reply.type == REDIS_REPLY_INTEGER && reply.integer >= least && reply.integer <= most;
}

/// The primary of one range: [first, last, [host, port, ...], replicas...].
std::optional<Endpoint> primary_of(const redisReply& range, const Endpoint& answering) {
    constexpr long long last_slot = cluster_slots - 1;
    constexpr long long last_port = 65535;
    if (range.type != REDIS_REPLY_ARRAY || range.elements < 3 || !is_number(*range.element[0], 0, last_slot) ||
        !is_number(*range.element[1], range.element[0]->integer, last_slot)) {
        return std::nullopt;
    }
    const redisReply& node = *range.element[2];
    if (node.type != REDIS_REPLY_ARRAY || node.elements < 2 || !is_number(*node.element[1], 1, last_port)) {
        return std::nullopt;
    }
    std::string host{text_of(*node.element[0])};
    if (host.empty() || host == "?") host = answering.host;
    if (host.find('\0') != std::string::npos) return std::nullopt;
    return Endpoint{std::move(host), static_cast<std::uint16_t>(node.element[1]->integer), {}};
}

}  // namespace

bool ClusterMap::take(const redisReply& answer, const Endpoint& answering,
                      const std::function<NodeNumber(const Endpoint&)>& number_of) {
    if (answer.type != REDIS_REPLY_ARRAY) return false;
    std::array<NodeNumber, cluster_slots> serving{};
    serving.fill(nobody);
    for (std::size_t i = 0; i < answer.elements; ++i) {
        const redisReply& range = *answer.element[i];
        const std::optional<Endpoint> primary = primary_of(range, answering);
        if (!primary) return false;
        const NodeNumber node = number_of(*primary);
        std::fill(serving.begin() + range.element[0]->integer, serving.begin() + range.element[1]->integer + 1, node);
    }
    serving_ = serving;
    return true;
}

}  // namespace penumbra::vmm
