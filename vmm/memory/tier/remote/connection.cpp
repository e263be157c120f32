#include "vmm/memory/tier/remote/connection.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/assert.hpp"

namespace penumbra::vmm {

namespace {

constexpr std::size_t read_bytes = std::size_t{64} << 10;
constexpr std::size_t fed_at_once = std::size_t{8} << 10;
constexpr std::size_t parts_per_send = 64;
constexpr const char* look_at_network = "see that the server runs and the network lets through; the VM can go on then";

timeval timeval_of(std::chrono::milliseconds time) { return {time.count() / 1000, time.count() % 1000 * 1000}; }

/// hiredis' own functions, but that no server makes it allocate room for an array that never comes.
redisReplyObjectFunctions* bounded(redisReplyObjectFunctions* usual) {
    static redisReplyObjectFunctions* const plain = usual;
    static redisReplyObjectFunctions guarded = [] {
        redisReplyObjectFunctions functions = *plain;
        functions.createArray = [](const redisReadTask* task, auto elements) -> void* {
            const bool modest = static_cast<std::size_t>(elements) <= Connection::most_elements;
            return modest ? plain->createArray(task, elements) : nullptr;
        };
        return functions;
    }();
    return &guarded;
}

}  // namespace

StoreCommand::StoreCommand(std::initializer_list<std::string_view> words) {
    constexpr std::size_t most_words = 8;
    std::array<const char*, most_words> starts{};
    std::array<std::size_t, most_words> lengths{};
    PENUMBRA_ASSERT(words.size() <= most_words, "a short command");
    std::ranges::transform(words, starts.begin(), &std::string_view::data);
    std::ranges::transform(words, lengths.begin(), &std::string_view::size);
    char* text = nullptr;
    const int length = ::redisFormatCommandArgv(&text, static_cast<int>(words.size()), starts.data(), lengths.data());
    PENUMBRA_ASSERT(length > 0, "memory for a command");
    text_.reset(text);
    length_ = static_cast<std::size_t>(length);
}

Result<Connection> Connection::open(const Endpoint& endpoint, std::chrono::milliseconds patience) {
    const timeval limit = timeval_of(std::max(patience, std::chrono::milliseconds{1}));
    errno = 0;
    Context context{endpoint.path.empty() ? ::redisConnectWithTimeout(endpoint.host.c_str(), endpoint.port, limit)
                                          : ::redisConnectUnixWithTimeout(endpoint.path.c_str(), limit)};
    PENUMBRA_ASSERT(context != nullptr, "memory for a connection");
    if (context->err != 0) {
        const int error_number = context->err == REDIS_ERR_IO ? errno : 0;
        std::string object = endpoint.text();
        if (error_number == 0) object += std::string{" ("} + static_cast<const char*>(context->errstr) + ")";
        return std::unexpected{Error{"connect to the page store", std::move(object), error_number,
                                     "see that the server runs there and the network lets through"}};
    }
    if (endpoint.path.empty()) (void)::redisEnableKeepAlive(context.get());  // a peer that vanished is noticed at rest
    return Connection{endpoint, std::move(context)};
}

Connection::Connection(Endpoint endpoint, Context context)
    : endpoint_(std::move(endpoint)),
      context_(std::move(context)),
      buffer_(std::make_unique_for_overwrite<char[]>(read_bytes)) {
    redisReader& reader = *context_->reader;
    reader.fn = bounded(reader.fn);
    reader.maxbuf = 2 * read_bytes;
}

std::unexpected<Error> Connection::failed(std::string act, int error_number) const {
    return std::unexpected{Error{std::move(act), endpoint_.text(), error_number, look_at_network}};
}

std::unexpected<Error> Connection::no_redis(const char* why) const {
    return std::unexpected{Error{"understand the page store", endpoint_.text() + " (" + why + ")", EPROTO,
                                 "name a server that speaks the Redis protocol"}};
}

Result<> Connection::push() {
    while (has_queued()) {
        std::array<iovec, parts_per_send> parts{};
        std::size_t count = 0;
        for (std::size_t at = first_; at < queued_.size() && count < parts.size(); ++at) {
            const std::string_view bytes = queued_[at].bytes().substr(at == first_ ? offset_ : 0);
            parts[count++] = {const_cast<char*>(bytes.data()), bytes.size()};
        }
        const msghdr message{.msg_name = nullptr,
                             .msg_namelen = 0,
                             .msg_iov = parts.data(),
                             .msg_iovlen = count,
                             .msg_control = nullptr,
                             .msg_controllen = 0,
                             .msg_flags = 0};
        const ssize_t sent = ::sendmsg(context_->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno == EAGAIN) return {};
        if (sent < 0) return failed("send to the page store", errno);
        offset_ += static_cast<std::size_t>(sent);
        while (has_queued() && offset_ >= queued_[first_].bytes().size()) offset_ -= queued_[first_++].bytes().size();
    }
    queued_.clear();
    first_ = offset_ = 0;
    return {};
}

Result<> Connection::wait(WaitFor what, Time deadline) const {
    for (;;) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
        if (left.count() <= 0) return failed("get an answer from the page store", ETIMEDOUT);
        pollfd poll{context_->fd, static_cast<short>(what == WaitFor::room ? POLLIN | POLLOUT : POLLIN), 0};
        const int ready = ::poll(&poll, 1, static_cast<int>(std::min<std::int64_t>(left.count(), 60'000)));
        if (ready > 0) return {};
        if (ready < 0 && errno != EINTR) return failed("wait for the page store", errno);
    }
}

Result<> Connection::flush(Time deadline) {
    for (;;) {
        PENUMBRA_TRY(push());
        if (!has_queued()) return {};
        PENUMBRA_TRY(wait(WaitFor::room, deadline));
        PENUMBRA_TRY(read_some());  // a server that cannot get rid of its answers might not read on
    }
}

Result<Reply> Connection::next_parsed() {
    for (;;) {
        void* reply = nullptr;
        if (::redisReaderGetReply(context_->reader, &reply) != REDIS_OK) {
            return no_redis(static_cast<const char*>(context_->reader->errstr));
        }
        if (reply != nullptr || unread_.empty()) return Reply{static_cast<redisReply*>(reply)};
        // hiredis moves all that it was fed and did not use yet to the front, for each reply: so not much at once.
        PENUMBRA_TRY(feed(std::min(unread_.size(), fed_at_once)));
    }
}

Result<> Connection::feed(std::size_t bytes) {
    if (context_->reader->len + bytes > most_unread_bytes) return no_redis("endless answer");
    if (::redisReaderFeed(context_->reader, unread_.data(), bytes) != REDIS_OK) {
        return no_redis(static_cast<const char*>(context_->reader->errstr));
    }
    unread_.remove_prefix(bytes);
    return {};
}

Result<> Connection::read_some() {
    PENUMBRA_TRY(feed(unread_.size()));  // answers that are in nobody's way may wait there
    const ssize_t got = ::recv(context_->fd, buffer_.get(), read_bytes, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return {};
    if (got < 0) return failed("read from the page store", errno);
    if (got == 0) return failed("read from the page store", ECONNRESET);
    unread_ = {buffer_.get(), static_cast<std::size_t>(got)};
    return {};
}

Result<Reply> Connection::receive(Time deadline) {
    for (;;) {
        PENUMBRA_TRY_ASSIGN(Reply reply, next_parsed());
        if (reply) return reply;
        PENUMBRA_TRY(push());
        PENUMBRA_TRY(wait(has_queued() ? WaitFor::room : WaitFor::answers, deadline));
        PENUMBRA_TRY(read_some());
    }
}

}  // namespace penumbra::vmm
