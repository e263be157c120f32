// Cuts a byte stream into JSON messages, whatever the bytes are. A message ends where its JSON value ends: a line end
// after it is usual but not needed, and messages may share a line. After a message that cannot be understood, reading
// goes on behind the next line end.
#pragma once

#include <boost/json/stream_parser.hpp>
#include <boost/json/value.hpp>
#include <expected>
#include <functional>
#include <string>
#include <string_view>

namespace penumbra::vmm {

/// A message, or why it could not be read.
using QmpMessage = std::expected<boost::json::value, std::string>;

class MessageReader {
public:
    /// Bytes of the longest message. Nesting is bounded by the parser (32 levels).
    static constexpr std::size_t longest = std::size_t{64} << 10;

    /// Takes the stream's next bytes and hands on, in order, every message that they complete.
    void feed(std::string_view bytes, const std::function<void(QmpMessage)>& take);

private:
    void begin_message();

    boost::json::stream_parser parser_;
    std::size_t length_ = 0;  // bytes of the message begun
    bool skipping_ = false;   // to the next line end
};

}  // namespace penumbra::vmm
