// The entries that a walk went through: what a table built from its result has to watch.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/assert.hpp"
#include "base/page_size.hpp"
#include "shadow-mmu/guest_walk/table_entries.hpp"

namespace penumbra::mmu {

/// Times that a walk starts over because an entry changed under it. Each processor that shares the tables can only set
/// an accessed or dirty flag so often; whoever changes entries for longer than this does it on purpose.
inline constexpr unsigned max_walk_restarts = 16;

/// Lowest bit of an address that the index into a table of that level takes.
[[nodiscard]] constexpr unsigned index_shift(Level level) {
    return page_shift + index_bits * (static_cast<unsigned>(level) - 1);
}

template <class Address>
struct WalkStep {
    Level level = Level::page_4k;
    Address entry{};          ///< where the entry lies
    std::uint64_t value = 0;  ///< as read, or as this walk left it

    friend bool operator==(const WalkStep&, const WalkStep&) = default;
};

/// At most five steps, from the root down.
template <class Address>
class WalkPath {
public:
    using Step = WalkStep<Address>;

    void add(const Step& step) {
        PENUMBRA_ASSERT(count_ < steps_.size(), "a walk through more levels than there are");
        steps_[count_++] = step;
    }
    [[nodiscard]] std::span<const Step> steps() const { return std::span(steps_).first(count_); }
    [[nodiscard]] const Step& leaf() const {
        PENUMBRA_ASSERT(count_ > 0, "a path without steps has no leaf");
        return steps_[count_ - 1];
    }

    /// Sets `accessed` in every entry and `at_leaf` in the last, as a processor does: by compare-and-swap against the
    /// value that the walk went by. Stops at the first entry that cannot be changed; answers `done` where all are.
    struct Marked {
        EntryExchange result = EntryExchange::done;
        Address entry{};  ///< where it stopped
    };
    [[nodiscard]] Marked mark(TableEntries<Address>& entries, std::uint64_t accessed, std::uint64_t at_leaf) {
        for (std::size_t i = 0; i < count_; ++i) {
            const Step step = steps_[i];
            const std::uint64_t wanted = step.value | accessed | (i + 1 == count_ ? at_leaf : 0);
            if (wanted == step.value) continue;
            const EntryExchange result = entries.compare_exchange(step.entry, step.value, wanted);
            if (result == EntryExchange::read_only) continue;
            if (result != EntryExchange::done) return {result, step.entry};
            replace(step, wanted);
        }
        return {};
    }

    /// Whether every entry still holds what the walk saw. For a table that starts to watch the entries after the walk:
    /// a change between the two shows here.
    [[nodiscard]] bool unchanged(TableEntries<Address>& entries) const {
        for (const Step& step : steps()) {
            const auto now = entries.read(step.entry);
            if (!now || *now != step.value) return false;
        }
        return true;
    }

private:
    /// One entry may be several steps: a table that maps itself is legal. Where it changed between two reads, the steps
    /// differ and stay so, and unchanged() tells.
    void replace(const Step& marked, std::uint64_t value) {
        for (Step& step : std::span(steps_).first(count_)) {
            if (step.entry == marked.entry && step.value == marked.value) step.value = value;
        }
    }

    std::array<Step, 5> steps_{};
    std::size_t count_ = 0;
};

}  // namespace penumbra::mmu
