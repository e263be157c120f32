// All connections of one thread to one store: batches of commands, each sent to the node that serves its key, in
// pipelines.
//
// A connection that breaks is made anew once per command and batch, which harms nothing: every command here may be
// given twice (remote_tier.hpp). An answer that does not come in time is not waited for again. MOVED and ASK are
// followed, at most `rounds` times per batch with growing pauses, while a cluster moves slots. One thread at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "vmm/memory/tier/remote/cluster_map.hpp"
#include "vmm/memory/tier/remote/remote_node.hpp"
#include "vmm/memory/tier/remote/server_answer.hpp"
#include "vmm/memory/tier/tier.hpp"

namespace penumbra::vmm {

/// Whether a command that failed was carried out.
enum class Effect : std::uint8_t { none, unknown };

/// A batch: what is sent, and what becomes of it. Each item ends in one call of `answered` or `failed`.
class Exchange {
public:
    virtual ~Exchange() = default;
    [[nodiscard]] virtual std::size_t size() const = 0;
    [[nodiscard]] virtual PageKey key(std::size_t item) const = 0;
    /// Asked again where the item has to be sent again.
    [[nodiscard]] virtual StoreCommand command(std::size_t item) = 0;
    virtual void answered(std::size_t item, const redisReply& reply) = 0;
    virtual void failed(std::size_t item, const StoreError& error, Effect effect) = 0;
    /// For messages: "read pages from the page store".
    [[nodiscard]] virtual const char* act() const = 0;
};

class Link {
public:
    static constexpr unsigned rounds = 12;
    static constexpr std::size_t most_nodes = 1024;

    Link(const RemoteAccess& access, RemoteStatus& status);

    /// Connects, so that what is wrong from the start is found then.
    [[nodiscard]] Result<> open();
    void run(Exchange& exchange);

private:
    using NodeNumber = ClusterMap::NodeNumber;
    struct Item {
        std::uint32_t number = 0;
        bool sent = false;                          // it may have been carried out
        bool retried = false;                       // its connection was lost once
        NodeNumber ask_there = ClusterMap::nobody;  // after ASKING
    };
    struct Peer {
        RemoteNode node;
        std::deque<Item> waiting;  // for answers, oldest first
    };

    void send_all(Exchange& exchange, std::vector<Item> items);
    void send_one(Exchange& exchange, Item item);
    void receive_all(Exchange& exchange, Connection::Time deadline);
    [[nodiscard]] Result<> receive_one(Exchange& exchange, Peer& peer, Connection::Time deadline);
    void settle(Exchange& exchange, Peer& peer, Item item, const redisReply& reply);
    void redirect(Exchange& exchange, Peer& peer, Item item, Redirection to);
    void lost(Exchange& exchange, Peer& peer, const Error& error);
    void no_way(Exchange& exchange, Item item, const Error& error);
    void fail_item(Exchange& exchange, const Item& item, StoreError error);

    [[nodiscard]] NodeNumber route(Exchange& exchange, const Item& item) const;
    [[nodiscard]] NodeNumber number_of(const Endpoint& endpoint);
    /// Asks peer after peer, for at most twice the time that a connect may take.
    [[nodiscard]] Result<> refresh_map();
    [[nodiscard]] Result<> ask_map(RemoteNode& node);

    const RemoteAccess& access_;
    RemoteStatus& status_;
    std::vector<std::unique_ptr<Peer>> peers_;
    ClusterMap map_;
    bool map_is_stale_;
    bool met_move_ = false;
    std::size_t ask_first_ = 0;  // the peer that is likely to know the map
    bool met_failure_ = false;   // in this batch
    std::vector<Item> again_;    // for the next round
};

}  // namespace penumbra::vmm
