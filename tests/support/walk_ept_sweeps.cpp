#include "tests/support/walk_ept_sweeps.hpp"

#include <random>

namespace penumbra::test {

namespace {

constexpr std::uint64_t root = 0x0010'0000;
constexpr std::uint64_t all_rights = 7 | 1ULL << 10;
constexpr std::uint64_t write_back = 6ULL << 3;
constexpr std::uint64_t large = 1ULL << 7;
constexpr unsigned accesses = 6;
constexpr std::uint64_t sweep_address = 0x0080'8060'3123;  // of no two equal indices

class Digits {
public:
    explicit Digits(std::uint64_t number) : rest_(number) {}
    std::uint64_t take(std::uint64_t base) {
        const std::uint64_t digit = rest_ % base;
        rest_ /= base;
        return digit;
    }
    bool flag() { return take(2) != 0; }

private:
    std::uint64_t rest_;
};

std::uint64_t table(unsigned level) { return root + (6 - level) * 0x1000; }
/// A good entry without permissions.
std::uint64_t entry_at(unsigned level, unsigned leaf) {
    if (level > leaf) return table(level);
    return 0x80'4000'0000 | write_back | (level > 1 ? large : 0);
}

mmu::EptMode mode_of(Digits& digits) {
    mmu::EptMode mode;
    mode.physical_bits = 46;
    mode.accessed_dirty = digits.flag();
    mode.mode_based_execute = digits.flag();
    mode.execute_only = digits.flag();
    return mode;
}

}  // namespace

std::uint64_t EptRightsSweep::size() const {
    const unsigned levels = 5 - static_cast<unsigned>(leaf_);
    return (std::uint64_t{1} << (4 * levels)) * 8 * accesses * 2;
}

EptCase EptRightsSweep::at(std::uint64_t number) const {
    Digits digits(number);
    EptCase made;
    made.root = root;
    made.address = sweep_address;
    for (unsigned level = 4; level >= static_cast<unsigned>(leaf_); --level) {
        const std::uint64_t rights = digits.take(16);
        made.entries.at(4 - level) = entry_at(level, static_cast<unsigned>(leaf_)) | (rights & 7) | (rights & 8) << 7;
    }
    made.mode = mode_of(digits);
    made.access = static_cast<mmu::EptAccess>(digits.take(accesses));
    made.origin = static_cast<mmu::EptOrigin>(digits.take(2));
    return made;
}

// 61 bits, 4 levels, 3 kinds of leaf, 8 modes with 4 sets of page sizes, accesses.
std::uint64_t EptBitSweep::size() const { return 61ULL * 4 * 3 * 8 * 4 * accesses; }

EptCase EptBitSweep::at(std::uint64_t number) const {
    Digits digits(number);
    EptCase made;
    made.root = root;
    made.address = sweep_address;
    const std::uint64_t bit = 1ULL << (3 + digits.take(61));
    const auto spoilt = static_cast<unsigned>(1 + digits.take(4));
    const auto leaf = static_cast<unsigned>(1 + digits.take(3));
    made.mode = mode_of(digits);
    made.mode.pages_2m = digits.flag();
    made.mode.pages_1g = digits.flag();
    made.access = static_cast<mmu::EptAccess>(digits.take(accesses));
    for (unsigned level = 4; level >= leaf; --level) {
        std::uint64_t& entry = made.entries.at(4 - level);
        entry = entry_at(level, leaf) | all_rights;
        if (level == spoilt) entry ^= bit;
    }
    // A bit that turns a table into a page, or a page into a table, leaves a chain that goes on with nothing.
    return made;
}

EptCase EptRandomSweep::at(std::uint64_t number) const {
    std::mt19937_64 random(seed_ ^ number * 0x9E37'79B9'7F4A'7C15);
    const auto one_in = [&](std::uint64_t n) { return random() % n == 0; };
    EptCase made;
    mmu::EptMode& mode = made.mode;
    mode = {one_in(2) ? Level::top_4 : Level::top_5,      one_in(2), one_in(2), one_in(2), !one_in(4), !one_in(4),
            static_cast<std::uint8_t>(36 + random() % 17)};
    made.access = static_cast<mmu::EptAccess>(random() % accesses);
    made.origin = one_in(4) ? mmu::EptOrigin::physical_address : mmu::EptOrigin::linear_address;
    const std::uint64_t physical = (1ULL << mode.physical_bits) - 1;
    made.root = random() & physical & ~0xFFFFULL;
    made.address = random() & ((1ULL << (mode.top == Level::top_5 ? 52 : one_in(16) ? 52 : 48)) - 1);
    const unsigned leaf = static_cast<unsigned>(1 + random() % 3);
    const auto levels = static_cast<unsigned>(mode.top);
    for (unsigned level = levels; level >= leaf; --level) {
        std::uint64_t entry = random() & 0xFFF0'0000'0000'0B00;  // what is ignored, and the flags
        entry |= one_in(6) ? random() & all_rights : all_rights;
        std::uint64_t frame = random() & physical & ~0xFFFULL;
        if (level > leaf) {
            frame = (frame & ~0xF000ULL) | level << 12;
            if (one_in(16)) entry |= 1ULL << (3 + random() % 5);
        } else {
            const std::uint64_t below = (1ULL << (12 + 9 * (level - 1))) - 1;
            frame &= ~(one_in(12) ? below & random() : below);
            entry |= (one_in(8) ? random() & 7 : 6) << 3 | (random() & 1) << 6 | (level > 1 ? large : 0);
        }
        if (mode.physical_bits < 52 && one_in(24))
            frame |= 1ULL << (mode.physical_bits + random() % (52U - mode.physical_bits));
        made.entries.at(levels - level) = entry | frame;
    }
    return made;
}

EptSummary run_ept_sweep(const std::function<EptCase(std::uint64_t)>& at, std::uint64_t size, std::uint64_t stride,
                         std::uint64_t enough) {
    EptSummary summary;
    for (std::uint64_t number = 0; number < size && summary.differences < enough; number += stride) {
        const EptCase question = at(number);
        ++summary.cases;
        switch (ept_oracle(question).outcome) {
            case EptOutcome::allowed:
                ++summary.allowed;
                break;
            case EptOutcome::violation:
                ++summary.violations;
                break;
            case EptOutcome::misconfiguration:
                ++summary.misconfigurations;
                break;
        }
        const auto wrong = ept_difference(question);
        if (wrong && summary.differences++ == 0) summary.first = "case " + std::to_string(number) + ": " + *wrong;
    }
    return summary;
}

}  // namespace penumbra::test
