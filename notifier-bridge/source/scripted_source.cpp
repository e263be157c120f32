#include "notifier-bridge/source/scripted_source.hpp"

#include <iterator>
#include <utility>

#include "base/assert.hpp"

namespace penumbra::bridge {

ScriptedSource::~ScriptedSource() {
    while (!open_.empty()) open_.erase(std::prev(open_.end()));
}

std::optional<ScriptedSource::Ticket> ScriptedSource::begin(InvalidationEvent event, std::optional<Hvp> staging) {
    PENUMBRA_ASSERT(event.staging == nullptr, "a scripted event brought its own staging");
    auto bracket = std::make_unique<Bracket>();
    if (staging) {
        const std::uint64_t pages = event.ranges.pages();
        for (std::uint64_t i = 0; i < pages; ++i) bracket->slots.push_back(*staging + i);
        bracket->outcomes.resize(pages);
        bracket->plan = StagingPlan{bracket->slots, bracket->outcomes};
        event.staging = &bracket->plan;
    }
    bracket->invalidation.emplace(space_, std::move(event));
    if (!bracket->invalidation->started()) return std::nullopt;
    const Ticket ticket{begun_++};
    open_.emplace(ticket, std::move(bracket));
    return ticket;
}

const ScriptedSource::Bracket& ScriptedSource::find(Ticket ticket) const {
    const auto found = open_.find(ticket);
    PENUMBRA_ASSERT(found != open_.end(), "a scripted bracket that is not open");
    return *found->second;
}

const InvalidationEvent& ScriptedSource::event(Ticket ticket) const { return find(ticket).invalidation->event(); }

std::span<const TakeOut> ScriptedSource::outcomes(Ticket ticket) const { return find(ticket).outcomes; }

void ScriptedSource::end(Ticket ticket) {
    (void)find(ticket);
    open_.erase(ticket);
}

}  // namespace penumbra::bridge
