#include "vmm/memory/tier/remote/endpoint.hpp"

#include <charconv>
#include <optional>

namespace penumbra::vmm {

namespace {

constexpr std::uint16_t usual_port = 6379;
constexpr std::size_t most_seeds = 64;
constexpr unsigned most_databases = 1U << 16;

std::unexpected<Error> bad_url(std::string what) {
    return fail("understand the page store's URL", std::move(what),
                "write redis://HOST:PORT, redis+unix:///PATH or redis+cluster://HOST:PORT,HOST:PORT");
}

template <class T>
std::optional<T> number(std::string_view text, int base = 10) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

std::optional<std::string> without_percents(std::string_view text) {
    std::string plain;
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (text[at] != '%') {
            plain += text[at];
            continue;
        }
        const auto byte = number<std::uint8_t>(text.substr(at + 1, 2), 16);
        if (!byte || text.size() - at < 3) return std::nullopt;
        plain += static_cast<char>(*byte);
        at += 2;
    }
    return plain;
}

Result<Endpoint> host_and_port(std::string_view text) {
    std::string_view host = text, port;
    if (text.starts_with('[')) {
        const std::size_t end = text.find(']');
        if (end == std::string_view::npos) return bad_url("an address without its closing bracket");
        host = text.substr(1, end - 1);
        port = text.substr(end + 1);
    } else if (const std::size_t colon = text.find(':'); colon != std::string_view::npos) {
        host = text.substr(0, colon);
        port = text.substr(colon);
    }
    if (host.empty()) return bad_url("a host without a name");
    if (host.find_first_of(std::string_view{"\0/,?#@ ", 7}) != std::string_view::npos) {
        return bad_url("a host's name with a sign that no host's name has");
    }
    Endpoint endpoint{std::string{host}, usual_port, {}};
    if (port.empty()) return endpoint;
    const auto value = port.starts_with(':') ? number<std::uint16_t>(port.substr(1)) : std::nullopt;
    if (!value || *value == 0) return bad_url("a port that is no number from 1 to 65535");
    endpoint.port = *value;
    return endpoint;
}

/// Takes "scheme://" off the front.
bool take_scheme(std::string_view& rest, std::string_view scheme) {
    if (!rest.starts_with(scheme) || !rest.substr(scheme.size()).starts_with("://")) return false;
    rest.remove_prefix(scheme.size() + 3);
    return true;
}

/// Takes "user:password@" off the front.
Result<> take_login(std::string_view& rest, RemoteUrl& url) {
    const std::size_t at = rest.find('@');
    if (at == std::string_view::npos) return {};
    const std::string_view login = rest.substr(0, at);
    rest.remove_prefix(at + 1);
    const std::size_t colon = login.find(':');
    if (colon == std::string_view::npos) return bad_url("a user without a password");
    const auto user = without_percents(login.substr(0, colon));
    const auto password = without_percents(login.substr(colon + 1));
    if (!user || !password) return bad_url("a login with a % that two hexadecimal digits do not follow");
    url.user = *user;
    url.password = *password;
    return {};
}

Result<> take_database(std::string_view text, RemoteUrl& url) {
    const auto database = number<unsigned>(text);
    if (!database || *database >= most_databases) return bad_url("a database that is no small number");
    url.database = *database;
    return {};
}

Result<> parse_unix(std::string_view rest, RemoteUrl& url) {
    constexpr std::string_view database = "?db=";
    const std::size_t query = rest.find('?');
    const std::string_view path = rest.substr(0, query);
    if (!path.starts_with('/') || path.find('\0') != std::string_view::npos) {
        return bad_url("a socket's path that does not start at /");
    }
    url.seeds.push_back({{}, 0, std::string{path}});
    if (query == std::string_view::npos) return {};
    if (!rest.substr(query).starts_with(database)) return bad_url("a query other than ?db=NUMBER");
    return take_database(rest.substr(query + database.size()), url);
}

Result<> parse_hosts(std::string_view rest, RemoteUrl& url) {
    for (;;) {
        const std::size_t comma = rest.find(',');
        PENUMBRA_TRY_ASSIGN(Endpoint seed, host_and_port(rest.substr(0, comma)));
        url.seeds.push_back(std::move(seed));
        if (comma == std::string_view::npos) return {};
        if (url.seeds.size() == most_seeds) return bad_url("a cluster by more than 64 hosts");
        rest.remove_prefix(comma + 1);
    }
}

}  // namespace

std::string Endpoint::text() const {
    if (!path.empty()) return path;
    const bool bare = host.find(':') == std::string::npos;
    return (bare ? host : "[" + host + "]") + ":" + std::to_string(port);
}

Result<RemoteUrl> RemoteUrl::parse(std::string_view url) {
    RemoteUrl parsed;
    std::string_view rest = url;
    if (take_scheme(rest, "redis+unix")) {
        PENUMBRA_TRY(take_login(rest, parsed));
        PENUMBRA_TRY(parse_unix(rest, parsed));
    } else if (take_scheme(rest, "redis+cluster")) {
        parsed.kind = StoreKind::cluster;
        PENUMBRA_TRY(take_login(rest, parsed));
        PENUMBRA_TRY(parse_hosts(rest, parsed));
    } else if (take_scheme(rest, "redis")) {
        PENUMBRA_TRY(take_login(rest, parsed));
        const std::size_t slash = rest.find('/');
        PENUMBRA_TRY_ASSIGN(Endpoint seed, host_and_port(rest.substr(0, slash)));
        parsed.seeds.push_back(std::move(seed));
        if (slash != std::string_view::npos && slash + 1 < rest.size()) {
            PENUMBRA_TRY(take_database(rest.substr(slash + 1), parsed));
        }
    } else {
        return bad_url("a scheme that is none of redis, redis+unix, redis+cluster");
    }
    return parsed;
}

std::string RemoteUrl::text() const {
    std::string hosts = kind == StoreKind::cluster ? "redis cluster at " : "redis at ";
    for (const Endpoint& seed : seeds) hosts += (&seed == seeds.data() ? "" : ",") + seed.text();
    return hosts;
}

}  // namespace penumbra::vmm
