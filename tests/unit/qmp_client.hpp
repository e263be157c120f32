// A test's end of a QMP socket.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <boost/json.hpp>
#include <cstring>
#include <string>
#include <string_view>

#include "base/unique_fd.hpp"

namespace penumbra::vmm {

class QmpClient {
public:
    explicit QmpClient(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, path.data(), path.size());
        EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0) << path;
    }

    /// False when the other end has gone or, for a while, takes no more.
    bool send(std::string_view text) {
        while (!text.empty()) {
            pollfd writable{fd_.get(), POLLOUT, 0};
            if (::poll(&writable, 1, 1000) != 1) return false;
            const ssize_t sent = ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
            if (sent < 0) return false;
            text.remove_prefix(static_cast<std::size_t>(sent));
        }
        return true;
    }
    void send_end() { ::shutdown(fd_.get(), SHUT_WR); }

    /// The next line; an empty object at the stream's end, or when nothing comes for ten seconds.
    boost::json::object next() {
        for (;;) {
            if (const std::size_t end = received_.find("\r\n"); end != std::string::npos) {
                const std::string line = received_.substr(0, end);
                received_.erase(0, end + 2);
                return boost::json::parse(line).as_object();
            }
            pollfd readable{fd_.get(), POLLIN, 0};
            char bytes[4096];
            if (::poll(&readable, 1, 10'000) != 1) {
                ADD_FAILURE() << "nothing came";
                return {};
            }
            const ssize_t count = ::recv(fd_.get(), bytes, sizeof bytes, 0);
            if (count <= 0) return {};
            received_.append(bytes, static_cast<std::size_t>(count));
        }
    }
    /// The next answer, passing over events.
    boost::json::object ask(std::string_view command) {
        EXPECT_TRUE(send(command));
        for (;;) {
            boost::json::object line = next();
            if (!line.contains("event")) return line;
        }
    }
    /// Greeting and negotiation.
    void begin() {
        EXPECT_TRUE(next().contains("QMP"));
        EXPECT_TRUE(ask("{\"execute\":\"qmp_capabilities\"}\r\n").contains("return"));
    }

private:
    UniqueFd fd_;
    std::string received_;
};

}  // namespace penumbra::vmm
