#include "vmm/memory/tier/remote/link.hpp"

#include <poll.h>

#include <algorithm>
#include <utility>

#include "base/assert.hpp"
#include "base/planted.hpp"

namespace penumbra::vmm {

namespace {

constexpr std::size_t commands_per_push = 16;  // the server works on these while the next are put together
constexpr unsigned rounds_at_once = 3;
constexpr unsigned longest_pause = 7;  // 128 ms

/// Lets a cluster that changes come to rest: 0 ms for the first rounds, then 1, 2, 4 ...
void pause_before(unsigned round) {
    if (round >= rounds_at_once) (void)::poll(nullptr, 0, 1 << std::min(round - rounds_at_once, longest_pause));
}

}  // namespace

Link::Link(const RemoteAccess& access, RemoteStatus& status)
    : access_(access), status_(status), map_is_stale_(access.kind == StoreKind::cluster) {
    for (const Endpoint& seed : access.seeds) (void)number_of(seed);
}

Link::NodeNumber Link::number_of(const Endpoint& endpoint) {
    const auto known =
        std::ranges::find(peers_, endpoint, [](const auto& peer) -> const Endpoint& { return peer->node.endpoint(); });
    if (known == peers_.end() && peers_.size() == most_nodes) return ClusterMap::nobody;
    const auto number = static_cast<NodeNumber>(known - peers_.begin());
    if (known == peers_.end()) {
        peers_.push_back(std::unique_ptr<Peer>{new Peer{RemoteNode{endpoint, access_, status_}, {}}});
    }
    return number;
}

Result<> Link::open() {
    if (access_.kind == StoreKind::cluster) return refresh_map();
    PENUMBRA_TRY(peers_.front()->node.connected());
    return {};
}

Result<> Link::ask_map(RemoteNode& node) {
    PENUMBRA_TRY_ASSIGN(Connection* const connection, node.connected());
    connection->queue({"CLUSTER", "SLOTS"});
    Result<Reply> reply = connection->receive(std::chrono::steady_clock::now() + access_.connect_timeout);
    if (!reply) {
        node.disconnect();
        return std::unexpected{std::move(reply).error()};
    }
    if ((*reply)->type == REDIS_REPLY_ERROR) {
        StoreError error = refusal_of("learn the page store's nodes", node.endpoint().text(), text_of(**reply));
        if (text_of(**reply).find("cluster support disabled") != std::string_view::npos) {
            error.error.cure = "write redis:// in the URL: this server is no cluster";
        }
        return std::unexpected{std::move(error.error)};
    }
    const Endpoint answering = node.endpoint();
    if (map_.take(**reply, answering, [this](const Endpoint& endpoint) { return number_of(endpoint); })) return {};
    return fail("learn the page store's nodes", answering.text(),
                "use a cluster that answers CLUSTER SLOTS as Redis does");
}

Result<> Link::refresh_map() {
    const auto give_up = std::chrono::steady_clock::now() + 2 * access_.connect_timeout;
    const std::size_t known = peers_.size();  // asking adds peers
    Result<> first;
    for (std::size_t i = 0; i < known && std::chrono::steady_clock::now() < give_up; ++i) {
        Result<> asked = ask_map(peers_[(ask_first_ + i) % known]->node);
        map_is_stale_ = !asked;
        if (asked) return {};
        if (first) first = std::move(asked);
    }
    return first;
}

void Link::run(Exchange& exchange) {
    met_failure_ = false;
    const auto deadline = std::chrono::steady_clock::now() + access_.answer_timeout;
    std::vector<Item> items(exchange.size());
    for (std::uint32_t i = 0; i < items.size(); ++i) items[i].number = i;
    for (unsigned round = 0; round < rounds && !items.empty(); ++round) {
        pause_before(round);
        send_all(exchange, std::move(items));
        receive_all(exchange, deadline);
        items = std::exchange(again_, {});
    }
    for (const Item& item : items) {
        fail_item(exchange, item,
                  {StoreFailure::io, Error{exchange.act(), "whose nodes send each to the other", 0,
                                           "wait until the cluster has moved its slots"}});
    }
    // Not earlier: nodes that were not told yet would undo what a MOVED has taught.
    if (std::exchange(met_move_, false)) map_is_stale_ = true;
    if (!met_failure_) status_.note_success();
}

Link::NodeNumber Link::route(Exchange& exchange, const Item& item) const {
    if (access_.kind == StoreKind::server) return 0;
    if (item.ask_there != ClusterMap::nobody) return item.ask_there;
    return map_.serving(cluster_slot(exchange.key(item.number).view()));
}

void Link::send_all(Exchange& exchange, std::vector<Item> items) {
    if (map_is_stale_) {
        if (const Result<> fresh = refresh_map(); !fresh) {
            for (const Item& item : items) fail_item(exchange, item, {StoreFailure::io, fresh.error()});
            return;
        }
    }
    for (const Item& item : items) send_one(exchange, item);
}

void Link::send_one(Exchange& exchange, Item item) {
    const NodeNumber number = route(exchange, item);
    if (number == ClusterMap::nobody) {
        map_is_stale_ = true;
        return fail_item(exchange, item,
                         {StoreFailure::io, Error{exchange.act(), "in a slot that no node serves", 0,
                                                  "bring the cluster's missing nodes back"}});
    }
    Peer& peer = *peers_[number];
    const Result<Connection*> connection = peer.node.connected();
    if (!connection) return no_way(exchange, item, connection.error());
    const bool ask = item.ask_there != ClusterMap::nobody && !planted(Plant::remote_skips_asking);
    if (ask) (*connection)->queue({"ASKING"});
    (*connection)->queue(exchange.command(item.number));
    item.sent = true;
    peer.waiting.push_back(item);
    if (peer.waiting.size() % commands_per_push != 0) return;
    if (const Result<> pushed = (*connection)->push(); !pushed) lost(exchange, peer, pushed.error());
}

void Link::receive_all(Exchange& exchange, Connection::Time deadline) {
    // Every node gets all of its commands before the first is waited for.
    for (std::size_t i = 0; i < peers_.size(); ++i) {
        Peer& peer = *peers_[i];
        if (peer.waiting.empty()) continue;
        if (const Result<> sent = peer.node.connection()->flush(deadline); !sent) lost(exchange, peer, sent.error());
    }
    for (std::size_t i = 0; i < peers_.size(); ++i) {  // redirections add peers
        Peer& peer = *peers_[i];
        while (!peer.waiting.empty()) {
            if (const Result<> received = receive_one(exchange, peer, deadline); !received) {
                lost(exchange, peer, received.error());
            }
        }
    }
}

Result<> Link::receive_one(Exchange& exchange, Peer& peer, Connection::Time deadline) {
    Connection& connection = *peer.node.connection();
    const bool asked = peer.waiting.front().ask_there != ClusterMap::nobody && !planted(Plant::remote_skips_asking);
    if (asked) PENUMBRA_TRY(connection.receive(deadline));  // the answer to ASKING
    PENUMBRA_TRY_ASSIGN(const Reply reply, connection.receive(deadline));
    const Item item = peer.waiting.front();
    peer.waiting.pop_front();
    settle(exchange, peer, item, *reply);
    return {};
}

}  // namespace penumbra::vmm
