#include "tests/support/walk_ept_oracle.hpp"

#include <bit>
#include <string_view>

namespace penumbra::test {

namespace {

using mmu::EptAccess;

// Entries as the SDM draws them (volume 3, figure 29-1), bit 63 first. A: address, reserved from MAXPHYADDR up. M:
// memory type. I: ignore PAT. S: makes it a large page. 0: reserved. '.': ignored, or a flag that is told apart below.
constexpr std::string_view table_top = "............AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA....00000...";
constexpr std::string_view table_low = "............AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.....0000...";
constexpr std::string_view page_1gib = "............AAAAAAAAAAAAAAAAAAAAAA000000000000000000....SIMMM...";
constexpr std::string_view page_2mib = "............AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA000000000....SIMMM...";
constexpr std::string_view page_4kib = "............AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.....IMMM...";
static_assert(table_top.size() == 64 && table_low.size() == 64 && page_1gib.size() == 64 && page_2mib.size() == 64 &&
              page_4kib.size() == 64);

constexpr std::uint64_t where(std::string_view drawn, char sign) {
    std::uint64_t mask = 0;
    for (std::size_t i = 0; i < drawn.size(); ++i) {
        if (drawn[i] == sign) mask |= std::uint64_t{1} << (63 - i);
    }
    return mask;
}

struct Shape {
    std::uint64_t address, zero, large, type;
    constexpr explicit Shape(std::string_view drawn)
        : address(where(drawn, 'A')), zero(where(drawn, '0')), large(where(drawn, 'S')), type(where(drawn, 'M')) {}
};
constexpr std::array<Shape, 6> table_shapes{Shape{page_4kib}, Shape{page_4kib}, Shape{table_low},
                                            Shape{table_low}, Shape{table_top}, Shape{table_top}};
constexpr std::array<Shape, 6> page_shapes{Shape{page_4kib}, Shape{page_4kib}, Shape{page_2mib},
                                           Shape{page_1gib}, Shape{table_top}, Shape{table_top}};
constexpr std::uint64_t large_bit = where(page_2mib, 'S');

// What an entry admits, by its bits XWR.
enum Admits : unsigned {
    nothing = 0,
    reads = 1,
    writes = 2,
    fetches = 4,
    user_fetches = 8,
    bad = 16,
    bad_unless_xo = 32
};
constexpr std::array<unsigned, 8> plain{nothing,
                                        reads,
                                        bad,
                                        reads | writes,
                                        fetches | user_fetches | bad_unless_xo,
                                        reads | fetches | user_fetches,
                                        bad,
                                        reads | writes | fetches | user_fetches};
// The same with mode-based execute control, by bits XU X W R.
constexpr std::array<unsigned, 16> by_mode{nothing,
                                           reads,
                                           bad,
                                           reads | writes,
                                           fetches | bad_unless_xo,
                                           reads | fetches,
                                           bad,
                                           reads | writes | fetches,
                                           user_fetches | bad_unless_xo,
                                           reads | user_fetches,
                                           bad,
                                           reads | writes | user_fetches,
                                           fetches | user_fetches | bad_unless_xo,
                                           reads | fetches | user_fetches,
                                           bad,
                                           reads | writes | fetches | user_fetches};

unsigned admitted(const mmu::EptMode& mode, std::uint64_t entry) {
    return mode.mode_based_execute ? by_mode.at((entry & 7) | (entry >> 7 & 8)) : plain.at(entry & 7);
}

struct Ask {
    unsigned needs;
    std::uint32_t kind;
    bool writes_guest_table, is_table;
};
Ask ask(const EptCase& question) {
    const bool flags = question.mode.accessed_dirty;
    switch (question.access) {
        case EptAccess::read:
            return {reads, 1, false, false};
        case EptAccess::write:
            return {writes, 2, true, false};
        case EptAccess::fetch:
            return {fetches, 4, false, false};
        case EptAccess::fetch_user:
            return {user_fetches, 4, false, false};
        case EptAccess::table_read:
            return flags ? Ask{reads | writes, 3, true, true} : Ask{reads, 1, false, true};
        case EptAccess::table_update:
            return {reads | writes, 3, true, true};
    }
    return {};
}

bool is_bad(const EptCase& question, unsigned level, const Shape& shape, std::uint64_t entry, bool page) {
    const unsigned admits = admitted(question.mode, entry);
    if ((admits & bad) != 0 || ((admits & bad_unless_xo) != 0 && !question.mode.execute_only)) return true;
    if ((entry & shape.zero) != 0) return true;
    for (unsigned bit = question.mode.physical_bits; bit < 52; ++bit) {
        if ((entry >> bit & 1) != 0) return true;
    }
    if (!page) return false;
    const bool unsupported = (level == 2 && !question.mode.pages_2m) || (level == 3 && !question.mode.pages_1g);
    const auto type = (entry & shape.type) >> std::countr_zero(where(page_4kib, 'M'));
    return unsupported || type == 2 || type == 3 || type == 7;
}

std::uint32_t qualify(const EptCase& question, unsigned admits) {
    const Ask asked = ask(question);
    std::uint32_t bits = asked.kind;
    if ((admits & reads) != 0) bits += 8;
    if ((admits & writes) != 0) bits += 16;
    if ((admits & fetches) != 0) bits += 32;
    if ((admits & user_fetches) != 0 && question.mode.mode_based_execute) bits += 64;
    if (question.origin == mmu::EptOrigin::linear_address) bits += asked.is_table ? 128 : 384;
    return bits;
}

}  // namespace

EptVerdict ept_oracle(const EptCase& question) {
    EptVerdict verdict;
    verdict.entries_after = question.entries;
    const auto levels = static_cast<unsigned>(question.mode.top);
    verdict.stop_level = levels;
    const auto deny = [&](unsigned admits) {
        verdict.outcome = EptOutcome::violation;
        verdict.qualification = qualify(question, admits);
        return verdict;
    };
    if (levels == 4 && question.address >= 1ULL << 48) return deny(nothing);
    unsigned admits = reads | writes | fetches | user_fetches;
    for (unsigned level = levels;; --level) {
        const std::uint64_t entry = question.entries[levels - level];
        const bool page = level == 1 || (level < 4 && (entry & large_bit) != 0);
        const Shape& shape = (page ? page_shapes : table_shapes).at(level);
        verdict.stop_level = level;
        if (admitted(question.mode, entry) == nothing) return deny(nothing);
        if (is_bad(question, level, shape, entry, page)) {
            verdict.outcome = EptOutcome::misconfiguration;
            return verdict;
        }
        admits &= admitted(question.mode, entry);
        if (!page) continue;
        const std::uint64_t in_page = (std::uint64_t{1} << (12 + 9 * (level - 1))) - 1;
        verdict.host = (entry & shape.address) + (question.address & in_page);
        verdict.memory_type = static_cast<unsigned>(entry >> 3 & 7);
        break;
    }
    const Ask asked = ask(question);
    // Where execution is not by mode, a fetch is a fetch.
    const unsigned needs = question.mode.mode_based_execute || asked.needs != user_fetches ? asked.needs : +fetches;
    if ((admits & needs) != needs) return deny(admits);
    if (question.mode.accessed_dirty) {
        const unsigned used = levels - verdict.stop_level + 1;
        for (unsigned i = 0; i < used; ++i) verdict.entries_after[i] |= 0x100;
        if (asked.writes_guest_table) verdict.entries_after[used - 1] |= 0x200;
    }
    return verdict;
}

}  // namespace penumbra::test
