// Puts a WalkCase before the guest walk and compares its answer, and what it did to the entries, with the oracle's.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "tests/support/walk_oracle.hpp"

namespace penumbra::test {

/// Memory that holds a case's chain of entries and nothing else.
class ChainMemory final : public mmu::GuestEntries {
public:
    explicit ChainMemory(const WalkCase& chain);

    [[nodiscard]] std::expected<std::uint64_t, mmu::EntryProblem> read(Gpa entry) override;
    [[nodiscard]] mmu::EntryExchange compare_exchange(Gpa entry, std::uint64_t expected,
                                                      std::uint64_t desired) override;

    [[nodiscard]] const std::array<std::uint64_t, 5>& values() const { return values_; }
    [[nodiscard]] Gpa place(unsigned index) const { return Gpa{places_[index]}; }

private:
    std::array<std::uint64_t, 5> places_{};
    std::array<std::uint64_t, 5> values_{};
    std::size_t count_ = 0;
};

[[nodiscard]] mmu::GuestWalkResult walk(mmu::GuestEntries& memory, const WalkCase& question);

/// What is different, in words; nullopt where walk and oracle agree.
[[nodiscard]] std::optional<std::string> difference(const WalkCase& question);
[[nodiscard]] std::string describe(const WalkCase& question);

}  // namespace penumbra::test
