// A source that is told what happens: each bracket is begun and ended when the script says so, nested or interleaved as
// the host may do it, and can stay open across other steps. For tests and simulation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "notifier-bridge/address_space.hpp"

namespace penumbra::bridge {

/// One script, one thread. Brackets still open when the source is destroyed are ended, newest first.
class ScriptedSource {
public:
    /// An open bracket, by its number in the script.
    enum class Ticket : std::uint64_t {};

    explicit ScriptedSource(AddressSpace& space) : space_(space) {}
    ScriptedSource(const ScriptedSource&) = delete;
    ScriptedSource& operator=(const ScriptedSource&) = delete;
    ~ScriptedSource();

    /// Delivers start. Pages that keep their content go to consecutive slots from `staging` on, one per page of the
    /// event; the event's own `staging` must be unset. nullopt: would_block, and nothing is open.
    [[nodiscard]] std::optional<Ticket> begin(InvalidationEvent event, std::optional<Hvp> staging = std::nullopt);
    [[nodiscard]] const InvalidationEvent& event(Ticket ticket) const;
    /// What became of each page, in address order; empty for a bracket without staging.
    [[nodiscard]] std::span<const TakeOut> outcomes(Ticket ticket) const;
    /// Delivers end. Asserts that the bracket is open.
    void end(Ticket ticket);
    [[nodiscard]] std::size_t open() const { return open_.size(); }

private:
    struct Bracket {
        std::vector<Hvp> slots;
        std::vector<TakeOut> outcomes;
        StagingPlan plan;
        std::optional<Invalidation> invalidation;
    };
    [[nodiscard]] const Bracket& find(Ticket ticket) const;

    AddressSpace& space_;
    std::uint64_t begun_ = 0;
    std::map<Ticket, std::unique_ptr<Bracket>> open_;
};

}  // namespace penumbra::bridge
