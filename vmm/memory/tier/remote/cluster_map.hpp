// Which node of a cluster serves which of its 16384 slots, as CLUSTER SLOTS and MOVED tell. Not thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <functional>

#include "vmm/memory/tier/remote/command.hpp"
#include "vmm/memory/tier/remote/endpoint.hpp"
#include "vmm/memory/tier/remote/page_key.hpp"

namespace penumbra::vmm {

class ClusterMap {
public:
    using NodeNumber = std::uint16_t;
    static constexpr NodeNumber nobody = 0xFFFF;

    ClusterMap() { serving_.fill(nobody); }

    [[nodiscard]] NodeNumber serving(std::uint16_t slot) const { return serving_[slot]; }
    void moved(std::uint16_t slot, NodeNumber to) { serving_[slot] = to; }

    /// Takes an answer to CLUSTER SLOTS, if it makes sense from end to end; false, and no change, otherwise.
    /// `answering` stands for hosts that the answer leaves open; `number_of` names a node, or `nobody` for one too
    /// many.
    [[nodiscard]] bool take(const redisReply& answer, const Endpoint& answering,
                            const std::function<NodeNumber(const Endpoint&)>& number_of);

private:
    std::array<NodeNumber, cluster_slots> serving_;
};

}  // namespace penumbra::vmm
