#include "vmm/memory/tier/remote/server_answer.hpp"

#include <array>
#include <charconv>
#include <string>

#include "base/planted.hpp"
#include "vmm/memory/tier/remote/page_key.hpp"

namespace penumbra::vmm {

namespace {

struct Meaning {
    std::string_view code;  // the first word of the reply
    StoreFailure failure;
    const char* cure;
};

constexpr std::array meanings{
    Meaning{"OOM", StoreFailure::full, "raise the server's maxmemory or give this VM less of it"},
    Meaning{"NOAUTH", StoreFailure::io, "give a password for the page store"},
    Meaning{"WRONGPASS", StoreFailure::io, "give the right user and password for the page store"},
    Meaning{"NOPERM", StoreFailure::io, "allow this user SET, GET, UNLINK, PEXPIRE, INFO and CLUSTER on penumbra:*"},
    Meaning{"READONLY", StoreFailure::io, "name the primary: this server is a replica"},
    Meaning{"LOADING", StoreFailure::io, "wait until the server has loaded its data set"},
    Meaning{"MISCONF", StoreFailure::io, "free the server's disk, or turn its snapshots off"},
    Meaning{"NOREPLICAS", StoreFailure::io, "bring the server's replicas back"},
    Meaning{"MASTERDOWN", StoreFailure::io, "name the primary: this server is a replica"},
    Meaning{"CLUSTERDOWN", StoreFailure::io, "bring the cluster's missing nodes back"},
    Meaning{"WRONGTYPE", StoreFailure::corrupt, "let no other program write penumbra:*"},
    Meaning{"BUSY", StoreFailure::io, "end the script that keeps the server busy"},
    Meaning{"MOVED", StoreFailure::io, "write redis+cluster:// in the URL: this server is part of a cluster"},
    Meaning{"ASK", StoreFailure::io, "write redis+cluster:// in the URL: this server is part of a cluster"},
};
constexpr Meaning any_other{"", StoreFailure::io, "see the server's log and configuration"};

std::string_view take_word(std::string_view& rest) {
    const std::size_t end = rest.find(' ');
    const std::string_view word = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
    return word;
}

template <class T>
bool read_number(std::string_view text, T& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} && end == text.data() + text.size();
}

/// A server's words, fit for a terminal and bounded.
std::string quotable(std::string_view text) {
    constexpr std::size_t longest = 160;
    std::string quoted{text.substr(0, longest)};
    for (char& c : quoted) {
        if (c < ' ' || c == 127) c = '?';
    }
    return quoted;
}

std::string_view field_of(std::string_view info, std::string_view name) {
    for (std::size_t at = 0; at < info.size();) {
        const std::size_t end = std::min(info.find("\r\n", at), info.size());
        const std::string_view line = info.substr(at, end - at);
        if (line.starts_with(name) && line.substr(name.size()).starts_with(':')) return line.substr(name.size() + 1);
        at = end + 2;
    }
    return {};
}

}  // namespace

std::optional<Redirection> redirection_of(const redisReply& reply) {
    if (reply.type != REDIS_REPLY_ERROR) return std::nullopt;
    std::string_view rest = text_of(reply);
    const std::string_view code = take_word(rest);
    const std::string_view slot = take_word(rest);
    const std::string_view to = take_word(rest);
    if (code != "MOVED" && code != "ASK") return std::nullopt;
    Redirection found{code == "ASK" ? Redirection::Kind::ask : Redirection::Kind::moved, 0, {}};
    const std::size_t colon = to.rfind(':');
    if (colon == std::string_view::npos || !read_number(slot, found.slot) || found.slot >= cluster_slots ||
        !read_number(to.substr(colon + 1), found.to.port) || found.to.port == 0) {
        return std::nullopt;
    }
    found.to.host = to.substr(0, colon);
    if (found.to.host == "?") found.to.host.clear();
    return found;
}

StoreError refusal_of(std::string_view act, std::string_view where, std::string_view reply) {
    std::string_view rest = reply;
    const std::string_view code = take_word(rest);
    const Meaning* meaning = &any_other;
    for (const Meaning& known : meanings) {
        if (known.code == code) meaning = &known;
    }
    std::string object{where};
    object += " (it says: " + quotable(reply) + ")";
    return {meaning->failure, Error{std::string{act}, std::move(object), 0, meaning->cure}};
}

Result<> check_keeps_pages(std::string_view info, std::string_view where) {
    const std::string_view policy = field_of(info, "maxmemory_policy");
    if (policy == "noeviction" || planted(Plant::remote_takes_evicting)) return {};
    const std::string what = policy.empty() ? "does not tell its maxmemory-policy"
                                            : "has maxmemory-policy " + quotable(policy) + ", which may drop pages";
    return fail("trust the page store with guest memory", std::string{where} + " (it " + what + ")",
                "set its maxmemory-policy to noeviction");
}

}  // namespace penumbra::vmm
