#include "tests/support/walk_sweeps.hpp"

#include <algorithm>
#include <thread>

#include "tests/support/walk_case.hpp"

namespace penumbra::test {

namespace {

/// Takes the digits of a number one after the other.
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

constexpr std::uint64_t p = 1, w = 2, u = 4, a = 0x20, d = 0x40, ps = 0x80, nx = 1ULL << 63;
constexpr unsigned key_shift = 59;
constexpr std::uint64_t root = 0x0140'0000;
constexpr std::uint64_t page = 0x0200'0000;                     // 32 MiB
constexpr std::uint64_t sweep_address = 0xFFFF'9234'0200'0000;  // the page's own number within each size of page

constexpr std::uint64_t bit_if(bool set, std::uint64_t bit) { return set ? bit : 0; }

/// Entries from the top down to level 1; those of upper levels lead to the next table.
struct Chain {
    std::array<std::uint64_t, 5> entries{};
    unsigned levels;

    explicit Chain(Level top) : levels(static_cast<unsigned>(top)) {
        for (unsigned level = levels; level > 1; --level) at(level) = table(level) | p | w | u | a;
    }
    static std::uint64_t table(unsigned level) { return root + (6 - level) * 0x1000; }
    std::uint64_t& at(unsigned level) { return entries[levels - level]; }
};

SweepCase finish(const Chain& chain, mmu::PagingMode mode, mmu::GuestAccess access, bool read_first) {
    SweepCase made;
    made.question = {mode, access, mmu::MarkPages::accessed_and_dirty, root, sweep_address, chain.entries};
    made.read_first = read_first;
    return made;
}

constexpr std::array access_kinds{mmu::AccessKind::read, mmu::AccessKind::write, mmu::AccessKind::execute};

}  // namespace

AccessSweep::AccessSweep(Level top, std::uint8_t physical_bits) : top_(top), physical_bits_(physical_bits) {
    std::vector<std::uint64_t> high{};
    if (physical_bits <= 36) high.push_back(1ULL << 36);
    if (physical_bits <= 51) high.push_back(1ULL << 51);
    for (const bool large : {false, true}) {
        for (const bool no_execute : {false, true}) {
            std::vector<Extra> reserved{{large, no_execute, 0, 0}};  // at most one reserved bit
            for (const std::uint64_t bit : high) {
                reserved.push_back({large, no_execute, bit, 0});
                reserved.push_back({large, no_execute, 0, bit});
            }
            if (large) reserved.push_back({large, no_execute, 0, 1ULL << 13});
            if (!no_execute) {
                reserved.push_back({large, no_execute, nx, 0});
                reserved.push_back({large, no_execute, 0, nx});
                extras_.insert(extras_.end(), reserved.begin(), reserved.end());
                continue;
            }
            for (const Extra& extra : reserved) {  // where it is no reserved bit, XD varies freely
                for (unsigned both = 0; both < 4; ++both) {
                    extras_.push_back({large, no_execute, extra.pte | bit_if((both & 1) != 0, nx),
                                       extra.pde | bit_if((both & 2) != 0, nx)});
                }
            }
        }
    }
}

std::uint64_t AccessSweep::size() const {
    constexpr std::uint64_t entry_flags = 32, accesses = 12, write_protect = 2, keys = 10, read_only_pdpte = 2;
    return extras_.size() * entry_flags * entry_flags * accesses * write_protect * keys * read_only_pdpte;
}

SweepCase AccessSweep::at(std::uint64_t number) const {
    Digits digits(number);
    const auto entry_flags = [&] {
        return bit_if(digits.flag(), p) | bit_if(digits.flag(), w) | bit_if(digits.flag(), u) |
               bit_if(digits.flag(), a) | bit_if(digits.flag(), d);
    };
    const std::uint64_t pte = entry_flags();
    const std::uint64_t pde = entry_flags();
    const Extra& extra = extras_[digits.take(extras_.size())];
    mmu::GuestAccess access{access_kinds.at(digits.take(3)),
                            digits.flag() ? mmu::Privilege::user : mmu::Privilege::supervisor};
    const bool read_first = digits.flag();
    mmu::PagingMode mode;
    mode.top = top_;
    mode.physical_bits = physical_bits_;
    mode.no_execute = extra.no_execute;
    mode.write_protect = digits.flag();
    const bool key_one = digits.flag();
    const std::uint64_t rights = digits.take(5);  // 0: CR4.PKE is clear, else AD and WD of key 1
    mode.user_keys = rights != 0;
    // Key 2 forbids everything; it stands in entries whose key does not count.
    mode.user_key_rights = 0x30U | (rights == 0 ? 0 : static_cast<std::uint32_t>(rights - 1) << 2);
    Chain chain(top_);
    if (digits.flag()) chain.at(3) &= ~w;
    const std::uint64_t key = std::uint64_t{key_one ? 1U : 0U} << key_shift;
    chain.at(1) = page | pte | extra.pte | key;
    chain.at(2) = pde | extra.pde | (extra.large ? page | ps | key : Chain::table(2) | std::uint64_t{2} << key_shift);
    return finish(chain, mode, access, read_first);
}

std::uint64_t RightsSweep::size() const {
    const unsigned levels = 5 - static_cast<unsigned>(leaf_);
    constexpr std::uint64_t modes = 128, key_rights = 16, accesses = 9;
    return (std::uint64_t{1} << (3 * levels)) * modes * key_rights * accesses;
}

SweepCase RightsSweep::at(std::uint64_t number) const {
    Digits digits(number);
    Chain chain(Level::top_4);
    for (unsigned level = 4; level >= static_cast<unsigned>(leaf_); --level) {
        std::uint64_t& entry = chain.at(level);
        const bool is_leaf = level == static_cast<unsigned>(leaf_);
        if (is_leaf) entry = (level == 3 ? 0 : page) | p | bit_if(level > 1, ps) | 1ULL << key_shift;
        if (!is_leaf) entry = Chain::table(level) | p | 2ULL << key_shift;
        entry |= bit_if(digits.flag(), w) | bit_if(digits.flag(), u) | bit_if(digits.flag(), nx);
    }
    mmu::PagingMode mode;
    mode.physical_bits = 46;
    mode.write_protect = digits.flag();
    mode.smep = digits.flag();
    mode.smap = digits.flag();
    mode.access_user = digits.flag();
    mode.no_execute = digits.flag();
    mode.user_keys = digits.flag();
    mode.supervisor_keys = digits.flag();
    mode.user_key_rights = 0x30U | static_cast<std::uint32_t>(digits.take(4)) << 2;
    mode.supervisor_key_rights = 0x30U | static_cast<std::uint32_t>(digits.take(4)) << 2;
    const auto kind = access_kinds.at(digits.take(3));
    return finish(chain, mode, {kind, static_cast<mmu::Privilege>(digits.take(3))}, false);
}

SweepSummary run_sweep(const CaseAt& at, const SweepSpan& span) {
    SweepSummary summary;
    for (std::uint64_t number = span.first; number < span.end && summary.differences < span.enough;
         number += span.stride) {
        SweepCase one = at(number);
        std::optional<std::string> wrong;
        if (one.read_first) {
            WalkCase first = one.question;
            first.access = {mmu::AccessKind::read, mmu::Privilege::supervisor};
            wrong = difference(first);
            one.question.entries = oracle(first).entries_after;
        }
        if (!wrong) wrong = difference(one.question);
        ++summary.cases;
        if (!oracle(one.question).allowed) ++summary.faults;
        if (!wrong) continue;
        if (summary.differences++ == 0) {
            summary.first = "case " + std::to_string(number) + ": " + *wrong + "; " + describe(one.question);
        }
    }
    return summary;
}

SweepSummary run_sweep(const CaseAt& at, std::uint64_t size, unsigned threads) {
    std::vector<SweepSummary> parts(threads);
    {
        std::vector<std::jthread> running;
        for (unsigned i = 0; i < threads; ++i) {
            running.emplace_back([&, i] { parts[i] = run_sweep(at, {i, threads, size}); });
        }
    }
    SweepSummary all;
    for (const SweepSummary& part : parts) {
        all.cases += part.cases;
        all.faults += part.faults;
        all.differences += part.differences;
        if (all.first.empty()) all.first = part.first;
    }
    return all;
}

}  // namespace penumbra::test
