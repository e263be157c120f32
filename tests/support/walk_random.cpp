// The random sweep's cases: mostly permissive, so that walks get far, and a little of everything.
#include <array>

#include "tests/support/walk_sweeps.hpp"

namespace penumbra::test {

namespace {

/// A sequence of numbers from a seed (SplitMix64).
class Dice {
public:
    explicit Dice(std::uint64_t seed) : state_(seed) {}

    std::uint64_t next() {
        std::uint64_t x = state_ += 0x9E37'79B9'7F4A'7C15;
        x = (x ^ (x >> 30)) * 0xBF58'476D'1CE4'E5B9;
        x = (x ^ (x >> 27)) * 0x94D0'49BB'1331'11EB;
        return x ^ (x >> 31);
    }
    std::uint64_t below(std::uint64_t bound) { return (next() >> 32) * bound >> 32; }
    bool one_in(std::uint64_t n) { return below(n) == 0; }

private:
    std::uint64_t state_;
};

mmu::PagingMode some_mode(Dice& dice) {
    mmu::PagingMode mode;
    const std::uint64_t flags = dice.next();
    mode.top = (flags & 1) != 0 ? Level::top_4 : Level::top_5;
    mode.write_protect = (flags & 2) != 0;
    mode.no_execute = (flags & 4) != 0;
    mode.global_pages = (flags & 8) != 0;
    mode.smep = (flags & 16) != 0;
    mode.smap = (flags & 32) != 0;
    mode.access_user = (flags & 64) != 0;
    mode.user_keys = (flags & 128) != 0;
    mode.supervisor_keys = (flags & 256) != 0;
    mode.gigabyte_pages = (flags & (512 | 1024)) != 0;
    mode.upper_global = (flags & (2048 | 4096)) == 0 ? mmu::UpperGlobalBit::reserved : mmu::UpperGlobalBit::ignored;
    mode.physical_bits = static_cast<std::uint8_t>(36 + dice.below(17));
    // Of two random numbers, the bits that both have: a quarter of the rights is taken away.
    mode.user_key_rights = static_cast<std::uint32_t>(dice.next() & dice.next());
    mode.supervisor_key_rights = static_cast<std::uint32_t>(dice.next() & dice.next());
    return mode;
}

/// `level` is the entry's, `leaf` the level at which the chain ends.
std::uint64_t some_entry(Dice& dice, const mmu::PagingMode& mode, unsigned level, unsigned leaf) {
    constexpr std::uint64_t anything = 0x7FF0'0000'0000'0F78;  // ignored and remembered bits, but for sizes
    std::uint64_t entry = dice.next() & anything;
    for (const std::uint64_t needed : {1U, 2U, 4U}) {  // P, R/W, U/S
        if (!dice.one_in(16)) entry |= needed;
    }
    if (dice.one_in(mode.no_execute ? 8 : 32)) entry |= 1ULL << 63;
    if (level >= 4 && !dice.one_in(4)) entry &= ~(1ULL << 8);
    std::uint64_t frame = dice.next() & ((1ULL << mode.physical_bits) - 1) & ~0xFFFULL;
    if (level != leaf) {
        frame = (frame & ~0xF000ULL) | level << 12;  // no two tables of a chain are one
    } else if (level > 1) {
        const std::uint64_t below = (1ULL << (12 + 9 * (level - 1))) - 1;
        frame = dice.one_in(12) ? frame & ~(below & dice.next()) : frame & ~below;
        entry |= 0x80 | dice.below(2) << 12;
    }
    if (level == 1 || (level >= 4 && dice.one_in(24))) entry |= dice.below(2) << 7;
    if (mode.physical_bits < 52 && dice.one_in(24)) {
        entry |= 1ULL << (mode.physical_bits + dice.below(52U - mode.physical_bits));
    }
    return entry | frame;
}

std::uint64_t some_address(Dice& dice, Level top) {
    const unsigned spare = top == Level::top_5 ? 7 : 16;
    const std::uint64_t any = dice.next();
    const auto canonical = static_cast<std::uint64_t>(static_cast<std::int64_t>(any << spare) >> spare);
    return dice.one_in(12) ? canonical ^ 1ULL << (63 - dice.below(spare + 1U)) : canonical;
}

}  // namespace

SweepCase RandomSweep::at(std::uint64_t number) const {
    Dice dice(seed_ + number * 0xD134'2543'DE82'EF95);
    SweepCase made;
    WalkCase& question = made.question;
    question.mode = some_mode(dice);
    question.root = dice.next() & ((1ULL << question.mode.physical_bits) - 1) & ~0xFFFFULL;
    question.address = some_address(dice, question.mode.top);
    constexpr std::array leaves{1U, 1U, 1U, 2U, 2U, 3U};
    const unsigned leaf = leaves.at(dice.below(leaves.size()));
    const auto levels = static_cast<unsigned>(question.mode.top);
    for (unsigned level = levels; level >= leaf; --level) {
        question.entries.at(levels - level) = some_entry(dice, question.mode, level, leaf);
    }
    question.access = {static_cast<mmu::AccessKind>(dice.below(3)), static_cast<mmu::Privilege>(dice.below(3))};
    question.mark = dice.one_in(8) ? mmu::MarkPages::no : mmu::MarkPages::accessed_and_dirty;
    made.read_first = dice.one_in(4);
    return made;
}

}  // namespace penumbra::test
