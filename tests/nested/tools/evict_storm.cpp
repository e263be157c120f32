// evict_storm SOCKET SECONDS: takes every page of a running machine out of memory, again and again for that long,
// through its control socket. Prints how many passes and pages that were; exit status 0 if any page left and the
// machine lasted.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "base/unique_fd.hpp"

namespace {

/// One line each way.
class Client {
public:
    explicit Client(penumbra::UniqueFd fd) : fd_(std::move(fd)) {}

    /// The answer to a command, events left out; nothing once the machine has gone.
    std::optional<boost::json::object> ask(std::string_view command) {
        const std::string line = "{\"execute\":\"" + std::string(command) + "\"}\r\n";
        if (::send(fd_.get(), line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size())) return {};
        for (;;) {
            std::optional<boost::json::object> answer = next();
            if (!answer || answer->contains("return") || answer->contains("error")) return answer;
        }
    }
    std::optional<boost::json::object> next() {
        std::size_t end = 0;
        while ((end = received_.find('\n')) == std::string::npos) {
            char some[4096];
            const ssize_t count = ::recv(fd_.get(), some, sizeof(some), 0);
            if (count <= 0) return {};
            received_.append(some, static_cast<std::size_t>(count));
        }
        boost::json::value value = boost::json::parse(std::string_view(received_).substr(0, end));
        received_.erase(0, end + 1);
        return std::move(value.as_object());
    }

private:
    penumbra::UniqueFd fd_;
    std::string received_;
};

penumbra::UniqueFd connect_to(const char* path) {
    penumbra::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) fd.reset();
    return fd;
}

}  // namespace

int main(int count, char** words) {
    const long seconds = count == 3 ? std::strtol(words[2], nullptr, 10) : 0;
    if (seconds <= 0) {
        std::fputs("usage: evict_storm SOCKET SECONDS\n", stderr);
        return 2;
    }
    penumbra::UniqueFd fd = connect_to(words[1]);
    if (!fd) {
        std::fprintf(stderr, "evict_storm: nobody listens at %s\n", words[1]);
        return 2;
    }
    Client client(std::move(fd));
    if (!client.next() || !client.ask("qmp_capabilities")) return 2;
    std::uint64_t passes = 0, taken = 0, kept = 0;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
    bool lasted = true;
    while (std::chrono::steady_clock::now() < end) {
        const auto answer = client.ask("x-penumbra-evict-pass");
        const auto* result = answer ? answer->if_contains("return") : nullptr;
        lasted = result != nullptr;
        if (!lasted) break;  // the machine is ending
        ++passes;
        taken += result->at("taken").to_number<std::uint64_t>();
        kept += result->at("kept").to_number<std::uint64_t>();
    }
    std::printf("evicted: %llu passes, %llu pages taken, %llu kept\n", static_cast<unsigned long long>(passes),
                static_cast<unsigned long long>(taken), static_cast<unsigned long long>(kept));
    return taken > 0 && lasted ? 0 : 1;
}
