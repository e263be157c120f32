// Puts an EptCase before walk_ept() and compares.
#include <fmt/format.h>

#include "tests/support/walk_ept_oracle.hpp"

namespace penumbra::test {

namespace {

constexpr std::uint64_t frame_bits = 0x000F'FFFF'FFFF'F000;

/// A case's chain of entries.
class EptChain final : public mmu::EptEntries {
public:
    explicit EptChain(const EptCase& chain) : values_(chain.entries) {
        std::uint64_t table = chain.root;
        for (unsigned level = static_cast<unsigned>(chain.mode.top); level > 0; --level) {
            places_[count_] = table + (chain.address >> (9 * level + 3) & 511) * 8;
            table = values_[count_++] & frame_bits;
        }
    }
    [[nodiscard]] std::expected<std::uint64_t, mmu::EntryProblem> read(mmu::EptAddress entry) override {
        for (std::size_t i = 0; i < count_; ++i) {
            if (places_[i] == entry.value()) return values_[i];
        }
        return std::unexpected{mmu::EntryProblem::not_ram};
    }
    [[nodiscard]] mmu::EntryExchange compare_exchange(mmu::EptAddress entry, std::uint64_t expected,
                                                      std::uint64_t desired) override {
        for (std::size_t i = 0; i < count_; ++i) {
            if (places_[i] != entry.value()) continue;
            if (values_[i] != expected) return mmu::EntryExchange::changed;
            values_[i] = desired;
            return mmu::EntryExchange::done;
        }
        return mmu::EntryExchange::not_ram;
    }
    [[nodiscard]] const std::array<std::uint64_t, 5>& values() const { return values_; }

private:
    std::array<std::uint64_t, 5> places_{};
    std::array<std::uint64_t, 5> values_{};
    std::size_t count_ = 0;
};

EptOutcome outcome_of(const mmu::EptWalkResult& found) {
    if (found) return EptOutcome::allowed;
    return found.error().cause == mmu::EptFaultCause::misconfiguration ? EptOutcome::misconfiguration
                                                                       : EptOutcome::violation;
}

std::string describe(const EptCase& question) {
    const mmu::EptMode& mode = question.mode;
    return fmt::format(
        "address {:#x}, entries {:x} {:x} {:x} {:x} {:x}, access {}, origin {}, levels {}, {} bits{}{}{}{}{}",
        question.address, question.entries[0], question.entries[1], question.entries[2], question.entries[3],
        question.entries[4], static_cast<unsigned>(question.access), static_cast<unsigned>(question.origin),
        static_cast<unsigned>(mode.top), mode.physical_bits, mode.accessed_dirty ? " AD" : "",
        mode.mode_based_execute ? " MBEC" : "", mode.execute_only ? " XO" : "", mode.pages_2m ? " 2M" : "",
        mode.pages_1g ? " 1G" : "");
}

std::string compare(const EptVerdict& right, const mmu::EptWalkResult& found) {
    if (!found && found.error().cause > mmu::EptFaultCause::misconfiguration) return "a table is missing";
    if (outcome_of(found) != right.outcome) {
        return fmt::format("outcome {}, not {}", static_cast<unsigned>(outcome_of(found)),
                           static_cast<unsigned>(right.outcome));
    }
    const Level level = found ? found->leaf : found.error().level;
    if (static_cast<unsigned>(level) != right.stop_level) return "another level";
    if (found) {
        if (found->address.value() != right.host) return "another address";
        return found->memory_type == right.memory_type ? "" : "another memory type";
    }
    if (found.error().qualification == right.qualification) return "";
    return fmt::format("qualification {:#x}, not {:#x}", found.error().qualification, right.qualification);
}

}  // namespace

std::optional<std::string> ept_difference(const EptCase& question) {
    const EptVerdict right = ept_oracle(question);
    EptChain memory(question);
    const mmu::EptWalkResult found =
        mmu::walk_ept(memory, question.mode,
                      {mmu::EptAddress{question.root}, Gpa{question.address}, question.access, question.origin});
    std::string wrong = compare(right, found);
    if (wrong.empty() && memory.values() != right.entries_after) wrong = "other accessed or dirty flags";
    if (wrong.empty()) return std::nullopt;
    return wrong + "; " + describe(question);
}

}  // namespace penumbra::test
