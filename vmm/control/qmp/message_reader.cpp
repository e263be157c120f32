#include "vmm/control/qmp/message_reader.hpp"

#include <algorithm>

namespace penumbra::vmm {

void MessageReader::begin_message() {
    parser_.reset();
    length_ = 0;
}

void MessageReader::feed(std::string_view bytes, const std::function<void(QmpMessage)>& take) {
    const auto refuse = [&](const std::string& why) {
        begin_message();
        skipping_ = true;
        take(std::unexpected{"JSON parse error, " + why});
    };
    while (!bytes.empty()) {
        if (skipping_) {
            const std::size_t line_end = bytes.find('\n');
            if (line_end == std::string_view::npos) return;
            bytes.remove_prefix(line_end + 1);
            skipping_ = false;
            continue;
        }
        if (length_ == 0) {
            bytes.remove_prefix(std::min(bytes.find_first_not_of(" \t\r\n"), bytes.size()));
            if (bytes.empty()) return;
        }
        const std::size_t room = longest - length_;
        if (room == 0) {
            refuse("the message is longer than " + std::to_string(longest) + " bytes");
            continue;
        }
        boost::json::error_code error;
        const std::size_t used = parser_.write_some(bytes.data(), std::min(bytes.size(), room), error);
        length_ += used;
        bytes.remove_prefix(used);
        if (error) {
            refuse(error.message());
        } else if (parser_.done()) {
            boost::json::value message = parser_.release();
            begin_message();
            take(std::move(message));
        }
    }
}

}  // namespace penumbra::vmm
