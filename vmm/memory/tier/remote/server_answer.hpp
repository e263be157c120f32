// What a server's error replies mean: whether the store is full, what a person can do, or where else to ask.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "vmm/memory/tier/remote/command.hpp"
#include "vmm/memory/tier/remote/endpoint.hpp"
#include "vmm/memory/tier/tier.hpp"

namespace penumbra::vmm {

/// Redis cluster specification, "Redirection and resharding".
struct Redirection {
    enum class Kind : std::uint8_t {
        moved,  ///< the slot lives there from now on
        ask,    ///< this one command is to be asked there, after ASKING
    };
    Kind kind;
    std::uint16_t slot;
    Endpoint to;  ///< an empty host: that of the server that answered
};

/// Nothing for answers that are no redirection, or none that can be followed.
[[nodiscard]] std::optional<Redirection> redirection_of(const redisReply& reply);

/// An error reply in the words of Penumbra. `act` and `where` say what was tried on whom.
[[nodiscard]] StoreError refusal_of(std::string_view act, std::string_view where, std::string_view reply);

/// What INFO memory says of eviction: an error, with the cure, unless every page that is stored stays.
[[nodiscard]] Result<> check_keeps_pages(std::string_view info, std::string_view where);

}  // namespace penumbra::vmm
