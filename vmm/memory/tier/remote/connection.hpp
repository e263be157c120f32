// One connection to one server: commands out, answers in, in order, each wait with a deadline.
//
// hiredis connects, formats and parses; the socket is driven here, because a deadline for a whole pipeline, a bound on
// what a server may send, and a write that raises no SIGPIPE are not to be had otherwise. One thread at a time.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "base/result.hpp"
#include "vmm/memory/tier/remote/command.hpp"
#include "vmm/memory/tier/remote/endpoint.hpp"

namespace penumbra::vmm {

class Connection {
public:
    using Time = std::chrono::steady_clock::time_point;
    static constexpr std::size_t most_unread_bytes = std::size_t{8} << 20;
    static constexpr std::size_t most_elements = std::size_t{1} << 20;

    [[nodiscard]] static Result<Connection> open(const Endpoint& endpoint, std::chrono::milliseconds patience);

    void queue(StoreCommand command) { queued_.push_back(std::move(command)); }
    /// Sends of what is queued as much as the socket takes at once.
    [[nodiscard]] Result<> push();
    /// Sends all that is queued.
    [[nodiscard]] Result<> flush(Time deadline);
    /// The answer to the oldest command without one; sends what is queued first. After an error the connection is of no
    /// use any more: answers would go to the wrong commands. ETIMEDOUT is a deadline that passed, EPROTO an answer that
    /// is not Redis'.
    [[nodiscard]] Result<Reply> receive(Time deadline);
    [[nodiscard]] const Endpoint& endpoint() const { return endpoint_; }

private:
    struct Free {
        void operator()(redisContext* context) const { ::redisFree(context); }
    };
    using Context = std::unique_ptr<redisContext, Free>;

    Connection(Endpoint endpoint, Context context);

    enum class WaitFor : std::uint8_t { answers, room };
    [[nodiscard]] Result<> wait(WaitFor what, Time deadline) const;
    [[nodiscard]] Result<Reply> next_parsed();
    [[nodiscard]] Result<> feed(std::size_t bytes);
    [[nodiscard]] Result<> read_some();
    [[nodiscard]] bool has_queued() const { return first_ < queued_.size(); }
    [[nodiscard]] std::unexpected<Error> failed(std::string act, int error_number) const;
    [[nodiscard]] std::unexpected<Error> no_redis(const char* why) const;

    Endpoint endpoint_;
    Context context_;
    std::vector<StoreCommand> queued_;
    std::size_t first_ = 0;   // of queued_, not sent whole
    std::size_t offset_ = 0;  // into that one
    std::unique_ptr<char[]> buffer_;
    std::string_view unread_;  // of buffer_, not given to hiredis yet
};

}  // namespace penumbra::vmm
