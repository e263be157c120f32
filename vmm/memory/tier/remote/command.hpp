// Commands as they travel, and the answers: hiredis' own, owned.
#pragma once

#include <hiredis/hiredis.h>

#include <initializer_list>
#include <memory>
#include <string_view>

namespace penumbra::vmm {

struct ReplyDeleter {
    void operator()(redisReply* reply) const { ::freeReplyObject(reply); }
};
/// Never null where one is handed over.
using Reply = std::unique_ptr<redisReply, ReplyDeleter>;

/// The text of a status, error or string; nothing for other kinds.
[[nodiscard]] inline std::string_view text_of(const redisReply& reply) {
    const bool has =
        reply.type == REDIS_REPLY_STATUS || reply.type == REDIS_REPLY_ERROR || reply.type == REDIS_REPLY_STRING;
    return has ? std::string_view{reply.str, reply.len} : std::string_view{};
}

/// One command, ready to be sent. Words may hold any bytes.
class StoreCommand {
public:
    StoreCommand(std::initializer_list<std::string_view> words);

    [[nodiscard]] std::string_view bytes() const { return {text_.get(), length_}; }

private:
    struct Free {
        void operator()(char* text) const { ::redisFreeCommand(text); }
    };
    std::unique_ptr<char, Free> text_;
    std::size_t length_;
};

}  // namespace penumbra::vmm
