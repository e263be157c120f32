// Walks through tables that another thread rewrites at random: circles, holes, anything. A walk ends within its bound,
// and what it answers follows from values that its entries really had.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <memory>
#include <random>

#include "base/thread.hpp"
#include "tests/support/walk_case.hpp"

namespace penumbra::test::guest_walk_hostile_test {
namespace {

using mmu::EntryExchange;
using mmu::EntryProblem;
using mmu::GuestFaultCause;

constexpr std::uint64_t frames = 8;          // RAM; the entries name some more
constexpr std::uint64_t named_frames = 10;   // frame 8 is absent, 9 is no RAM
constexpr std::uint64_t entries_in_use = 4;  // of each table, so that walks and changes meet
constexpr std::uint64_t flags_kept_apart = 0x60;

/// Every value that is ever written to an entry is one of two, but for accessed and dirty flags.
class RestlessMemory final : public mmu::GuestEntries {
public:
    explicit RestlessMemory(std::uint64_t seed) {
        std::mt19937_64 random(seed);
        for (auto& alternatives : values_) {
            for (std::uint64_t& value : alternatives) {
                value = random() % named_frames << page_shift | (random() % 8 == 0 ? 0 : 7);
                if (random() % 16 == 0) value |= 0x80;
                if (random() % 16 == 0) value |= 1ULL << 50;
            }
        }
        for (std::size_t i = 0; i < words_.size(); ++i) words_[i] = values_[i][0];
    }

    void change(std::uint64_t choice) {
        const std::size_t at = choice % words_.size();
        words_[at].store(values_[at][choice >> 32 & 1] | (choice >> 40 & flags_kept_apart), std::memory_order_seq_cst);
    }
    /// Whether the entry can have held that value.
    [[nodiscard]] bool possible(Gpa entry, std::uint64_t value) const {
        const auto& both = values_.at(*index_of(entry));
        return (value & ~flags_kept_apart) == both[0] || (value & ~flags_kept_apart) == both[1];
    }

    [[nodiscard]] std::expected<std::uint64_t, EntryProblem> read(Gpa entry) override {
        ++accesses;
        if (entry.value() >> page_shift == frames) return std::unexpected{EntryProblem::absent};
        const auto at = index_of(entry);
        if (!at) return std::unexpected{EntryProblem::not_ram};
        return words_[*at].load(std::memory_order_seq_cst);
    }
    [[nodiscard]] EntryExchange compare_exchange(Gpa entry, std::uint64_t expected, std::uint64_t desired) override {
        ++accesses;
        const auto at = index_of(entry);
        if (!at) return EntryExchange::not_ram;
        return words_[*at].compare_exchange_strong(expected, desired) ? EntryExchange::done : EntryExchange::changed;
    }

    unsigned accesses = 0;  ///< by the walking thread

private:
    [[nodiscard]] static std::optional<std::size_t> index_of(Gpa entry) {
        const std::uint64_t frame = entry.value() >> page_shift;
        const std::uint64_t index = entry.value() % page_bytes / 8;
        if (frame >= frames || index >= entries_in_use) return std::nullopt;
        return frame * entries_in_use + index;
    }

    std::array<std::atomic<std::uint64_t>, frames * entries_in_use> words_{};
    std::array<std::array<std::uint64_t, 2>, frames * entries_in_use> values_{};
};

std::uint64_t some_address(std::uint64_t random) {
    std::uint64_t address = random & 0xFFF;
    for (unsigned level = 1; level <= 4; ++level) {
        address |= (random >> (10 + 2 * level)) % entries_in_use << (3 + 9 * level);
    }
    return address;
}

/// What is wrong with a translation, given what its entries can have held.
const char* judge(const RestlessMemory& memory, WalkCase question, const mmu::GuestTranslation& found) {
    std::size_t i = 0;
    std::uint64_t table = question.root;
    for (const auto& step : found.path.steps()) {
        if (step.entry.value() - step.entry.value() % page_bytes != table)
            return "a step is not in the table before it";
        if (!memory.possible(step.entry, step.value)) return "an entry never had the value of a step";
        question.entries.at(i++) = step.value;
        table = step.value & 0x000F'FFFF'FFFF'F000;
    }
    const WalkVerdict verdict = oracle(question);
    if (!verdict.allowed) return "its own path denies the access";
    if (verdict.entries_after != question.entries) return "its own path lacks a flag";
    if (verdict.physical != found.gpa.value()) return "its own path leads elsewhere";
    return nullptr;
}

TEST(GuestWalkHostile, TablesThatChangeUnderTheWalk) {
    constexpr std::uint64_t seed = 0x5EED;
    RestlessMemory memory(seed);
    std::atomic<bool> stop{false};
    Thread mutator("mutator", ThreadRole::foreign, [&] {
        std::mt19937_64 random(seed);
        while (!stop.load(std::memory_order_relaxed)) memory.change(random());
    });
    std::mt19937_64 random(seed + 1);
    std::array<std::uint64_t, 16> causes{};
    std::uint64_t translated = 0;
    for (unsigned i = 0; i < 60'000; ++i) {
        WalkCase question;
        question.mode.physical_bits = 46;
        question.root = random() % frames << page_shift;
        question.address = some_address(random());
        question.access.kind = random() % 2 == 0 ? mmu::AccessKind::read : mmu::AccessKind::write;
        memory.accesses = 0;
        const mmu::GuestWalkResult found = walk(memory, question);
        ASSERT_LE(memory.accesses, (mmu::max_walk_restarts + 1) * 8) << "walk " << i;
        if (found) {
            ++translated;
            const char* wrong = judge(memory, question, *found);
            ASSERT_EQ(wrong, nullptr) << wrong << ", walk " << i << " of seed " << seed;
        } else {
            ++causes.at(static_cast<std::size_t>(found.error().cause));
        }
    }
    stop = true;
    mutator.join();
    EXPECT_GT(translated, 0U);
    const auto seen = [&](GuestFaultCause cause) { return causes.at(static_cast<std::size_t>(cause)); };
    for (const auto cause : {GuestFaultCause::not_present, GuestFaultCause::reserved_bit, GuestFaultCause::table_absent,
                             GuestFaultCause::table_not_ram}) {
        EXPECT_GT(seen(cause), 0U) << "cause " << static_cast<unsigned>(cause) << " never came up";
    }
    EXPECT_EQ(seen(GuestFaultCause::non_canonical), 0U);
}

}  // namespace
}  // namespace penumbra::test::guest_walk_hostile_test
