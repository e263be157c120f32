// The second half of Link: what becomes of a command that was not simply answered.
#include <utility>

#include "base/planted.hpp"
#include "vmm/memory/tier/remote/link.hpp"

namespace penumbra::vmm {

void Link::settle(Exchange& exchange, Peer& peer, Item item, const redisReply& reply) {
    if (reply.type != REDIS_REPLY_ERROR) return exchange.answered(item.number, reply);
    if (access_.kind == StoreKind::cluster) {
        const std::optional<Redirection> to = redirection_of(reply);
        const bool follow = to && !(to->kind == Redirection::Kind::moved && planted(Plant::remote_ignores_moved));
        if (follow) return redirect(exchange, peer, item, *to);
    }
    item.sent = false;
    fail_item(exchange, item, refusal_of(exchange.act(), peer.node.endpoint().text(), text_of(reply)));
}

void Link::redirect(Exchange& exchange, Peer& peer, Item item, Redirection to) {
    if (to.to.host.empty()) to.to.host = peer.node.endpoint().host;
    const NodeNumber node = number_of(to.to);
    if (node == ClusterMap::nobody) {
        return fail_item(exchange, item,
                         {StoreFailure::io, Error{exchange.act(), "in a cluster of more than 1024 nodes", 0, {}}});
    }
    status_.redirections.add();
    item.sent = false;
    item.ask_there = ClusterMap::nobody;
    if (to.kind == Redirection::Kind::ask) {
        item.ask_there = node;
    } else {
        map_.moved(to.slot, node);
        met_move_ = true;
        ask_first_ = node;
    }
    again_.push_back(item);
}

void Link::lost(Exchange& exchange, Peer& peer, const Error& error) {
    const bool too_late = error.error_number == ETIMEDOUT;
    if (!(too_late && planted(Plant::remote_keeps_broken))) peer.node.disconnect();
    map_is_stale_ = access_.kind == StoreKind::cluster;  // another node may have taken over
    for (Item item : std::exchange(peer.waiting, {})) {
        if (item.retried || too_late) {
            fail_item(exchange, item, {StoreFailure::io, error});
        } else {
            item.retried = true;
            again_.push_back(item);
        }
    }
}

/// The node cannot be reached. Of a cluster another may have taken over.
void Link::no_way(Exchange& exchange, Item item, const Error& error) {
    if (access_.kind == StoreKind::server || item.retried) {
        return fail_item(exchange, item, {StoreFailure::io, error});
    }
    map_is_stale_ = true;
    item.retried = true;
    item.ask_there = ClusterMap::nobody;
    again_.push_back(item);
}

void Link::fail_item(Exchange& exchange, const Item& item, StoreError error) {
    error.error.act = exchange.act();
    if (!std::exchange(met_failure_, true)) status_.note_failure(error.error);
    exchange.failed(item.number, error, item.sent || item.retried ? Effect::unknown : Effect::none);
}

}  // namespace penumbra::vmm
