#include "tests/walk/image_cases.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <random>

#include "tests/support/walk_case.hpp"

namespace penumbra::test {

namespace {

using image::CaseFlag;
using image::Feature;

constexpr std::uint64_t accessed = 0x20, page_size = 0x80;
/// Its index at each level leads to entries of the case's own; the lower half, which hosts without hardware
/// virtualization give to guests.
std::uint64_t image_address(std::uint64_t levels) {
    return levels == 5 ? 0x0021'1234'0200'0000 : 0x0000'1234'0200'0000;
}

bool offers(const image::Control& control, Feature feature) {
    return (control.features & static_cast<std::uint64_t>(feature)) != 0;
}

/// Whether the processor can be put into that mode.
bool possible(const image::Control& control, const SweepCase& made) {
    const mmu::PagingMode& mode = made.question.mode;
    if (static_cast<std::uint64_t>(mode.top) != control.levels ||
        made.question.access.privilege == mmu::Privilege::implicit_supervisor)
        return false;
    if (mode.smep && !offers(control, Feature::smep)) return false;
    if (mode.smap && !offers(control, Feature::smap)) return false;
    if (mode.user_keys && !offers(control, Feature::user_keys)) return false;
    return !mode.supervisor_keys || offers(control, Feature::supervisor_keys);
}

/// Where the entry's frame is the sweep's to choose, the image's own tables and page.
std::uint64_t rebase(std::uint64_t entry, unsigned level, unsigned physical_bits) {
    constexpr std::array<std::uint64_t, 6> below{
        0, image::target_page, image::table_1, image::table_2, image::table_3, image::table_4};
    const bool large = (level == 2 || level == 3) && (entry & page_size) != 0;
    const unsigned first = large ? 12 + 9 * (level - 1) : 12;
    const std::uint64_t frame_bits = (1ULL << physical_bits) - (1ULL << first);
    const std::uint64_t frame = large ? (level == 3 ? 0 : image::target_page) : below.at(level);
    return (entry & ~frame_bits) | frame;
}

SweepCase fit(SweepCase made, const image::Control& control, std::uint64_t address) {
    WalkCase& question = made.question;
    question.root = image::root_table;
    question.address = address;
    question.mark = mmu::MarkPages::accessed_and_dirty;
    question.mode.physical_bits = static_cast<std::uint8_t>(control.physical_bits);
    question.mode.gigabyte_pages = offers(control, Feature::gigabyte_pages);
    question.mode.global_pages = false;
    question.mode.upper_global = mmu::UpperGlobalBit::ignored;
    // Key 0 is that of the image's own pages.
    question.mode.user_key_rights &= ~3U;
    question.mode.supervisor_key_rights &= ~3U;
    // The image sets AC in ring 0 only, where it counts.
    if (question.access.privilege == mmu::Privilege::user) question.mode.access_user = false;
    const auto levels = static_cast<unsigned>(question.mode.top);
    for (unsigned level = levels; level > 0; --level) {
        std::uint64_t& entry = question.entries.at(levels - level);
        entry = rebase(entry, level, question.mode.physical_bits);
    }
    return made;
}

std::uint32_t bit_if(bool set, CaseFlag flag) { return set ? static_cast<std::uint32_t>(flag) : 0; }

/// What the walk says: the outcome of the access that counts, and the entries afterwards.
struct Prediction {
    mmu::GuestWalkResult outcome;
    std::array<std::uint64_t, 5> entries;
};
Prediction predict(const SweepCase& made) {
    ChainMemory memory(made.question);
    if (made.read_first) {
        WalkCase first = made.question;
        first.access = {mmu::AccessKind::read, mmu::Privilege::supervisor};
        first.mode.access_user = false;
        std::ignore = walk(memory, first);
    }
    mmu::GuestWalkResult outcome = walk(memory, made.question);
    return {std::move(outcome), memory.values()};
}

std::optional<std::string> wrong_exception(const Prediction& right, std::uint64_t address,
                                           const image::CaseResult& result) {
    if (right.outcome) {
        if (result.vector == image::no_exception) return std::nullopt;
        return fmt::format("allowed, but vector {} with error code {:#x}", result.vector, result.error_code);
    }
    const mmu::GuestFault& fault = right.outcome.error();
    if (fault.cause == mmu::GuestFaultCause::non_canonical) {
        if (result.vector == 13 && result.error_code == 0) return std::nullopt;
        return fmt::format("not canonical, but vector {} with error code {:#x}", result.vector, result.error_code);
    }
    if (result.vector != 14)
        return fmt::format("error code {:#x} expected, but vector {}", fault.error_code, result.vector);
    if (result.error_code != fault.error_code) {
        return fmt::format("error code {:#x}, not {:#x}", result.error_code, fault.error_code);
    }
    if (result.fault_address != address) return fmt::format("CR2 is {:#x}", result.fault_address);
    return std::nullopt;
}

/// Sets right what the judge is known to get wrong; whether there was something.
bool forgive(const Deviations& deviations, const Prediction& right, image::CaseResult& result) {
    if (right.outcome || result.vector != 14) return false;
    const mmu::GuestFault& fault = right.outcome.error();
    const std::uint32_t missing = fault.error_code & ~result.error_code;
    const bool known = (deviations.reserved_without_present && fault.cause == mmu::GuestFaultCause::reserved_bit &&
                        missing == mmu::page_fault::present) ||
                       (deviations.no_key_for_user_on_supervisor_page &&
                        fault.cause == mmu::GuestFaultCause::user_denied && missing == mmu::page_fault::key);
    if (known) result.error_code |= missing;
    return known;
}

}  // namespace

std::vector<SweepCase> image_cases(const image::Control& features, std::uint64_t count, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    const AccessSweep access(static_cast<Level>(features.levels), static_cast<std::uint8_t>(features.physical_bits));
    const RandomSweep anything(seed, ~std::uint64_t{0});
    const std::array rights{RightsSweep(Level::page_4k), RightsSweep(Level::page_2m), RightsSweep(Level::page_1g)};
    std::vector<SweepCase> cases;
    while (cases.size() < count) {
        const std::uint64_t kind = random() % 8;
        SweepCase made;
        if (kind < 4) {
            made = access.at(random() % access.size());
        } else if (kind < 6) {
            const RightsSweep& sweep = rights.at(random() % rights.size());
            made = sweep.at(random() % sweep.size());
        } else {
            made = anything.at(random());
        }
        std::optional<SweepCase> fitting = image_case(features, made);
        if (!fitting) continue;
        if (kind == 7 && random() % 16 == 0) {  // not canonical
            const std::uint64_t first = features.levels == 5 ? 56 : 47;
            fitting->question.address ^= 1ULL << (first + random() % (63 - first));
        }
        cases.push_back(*std::move(fitting));
    }
    std::ranges::sort(cases, {}, [](const SweepCase& made) { return encode(made).flags >> 5; });
    return cases;
}

std::optional<SweepCase> image_case(const image::Control& features, const SweepCase& made) {
    if (!possible(features, made)) return std::nullopt;
    return fit(made, features, image_address(features.levels));
}

std::uint64_t image_case_count() {
    const char* text = std::getenv("PENUMBRA_WALK_CASES");
    const std::uint64_t wanted = text != nullptr ? std::strtoull(text, nullptr, 10) : 210'000;
    return std::clamp<std::uint64_t>(wanted, 1, image::most_cases);
}

image::Case encode(const SweepCase& made) {
    const WalkCase& question = made.question;
    const mmu::PagingMode& mode = question.mode;
    image::Case one{};
    for (std::size_t i = 0; i < 5; ++i) one.entries[i] = question.entries.at(i);
    one.address = question.address;
    one.flags = bit_if(question.access.privilege == mmu::Privilege::user, CaseFlag::user) |
                bit_if(question.access.kind == mmu::AccessKind::write, CaseFlag::write) |
                bit_if(question.access.kind == mmu::AccessKind::execute, CaseFlag::fetch) |
                bit_if(made.read_first, CaseFlag::read_first) | bit_if(mode.access_user, CaseFlag::access_user) |
                bit_if(mode.write_protect, CaseFlag::write_protect) | bit_if(mode.no_execute, CaseFlag::no_execute) |
                bit_if(mode.smep, CaseFlag::smep) | bit_if(mode.smap, CaseFlag::smap) |
                bit_if(mode.user_keys, CaseFlag::user_keys) | bit_if(mode.supervisor_keys, CaseFlag::supervisor_keys);
    one.user_key_rights = mode.user_key_rights;
    one.supervisor_key_rights = mode.supervisor_key_rights;
    return one;
}

ImageVerdict& ImageVerdict::operator+=(const ImageVerdict& other) {
    cases += other.cases;
    faults += other.faults;
    in_ring_3 += other.in_ring_3;
    early_accessed += other.early_accessed;
    deviations += other.deviations;
    differences += other.differences;
    if (first.empty()) first = other.first;
    return *this;
}

ImageVerdict judge(std::span<const SweepCase> cases, std::span<const image::CaseResult> results,
                   Deviations deviations) {
    constexpr std::size_t told = 8;
    ImageVerdict verdict;
    for (std::size_t i = 0; i < results.size(); ++i) {
        const SweepCase& made = cases[i];
        const Prediction right = predict(made);
        ++verdict.cases;
        if (!right.outcome) ++verdict.faults;
        if (made.question.access.privilege == mmu::Privilege::user) ++verdict.in_ring_3;
        image::CaseResult result = results[i];
        if (forgive(deviations, right, result)) ++verdict.deviations;
        std::optional<std::string> wrong = wrong_exception(right, made.question.address, result);
        bool early = false;
        const auto levels = static_cast<std::size_t>(made.question.mode.top);
        for (std::size_t at = 0; at < levels && !wrong; ++at) {
            const std::uint64_t found = result.entries[at];
            if (found == right.entries.at(at)) continue;
            if (!right.outcome && found == (right.entries.at(at) | accessed)) {
                early = true;
            } else {
                wrong = fmt::format("entry {} is {:#x}, not {:#x}", at, found, right.entries.at(at));
            }
        }
        if (early) ++verdict.early_accessed;
        if (!wrong) continue;
        ++verdict.differences;
        if (verdict.first.size() < told) {
            verdict.first.push_back(fmt::format("case {}: {}{}; {}", i, *wrong, made.read_first ? ", read first" : "",
                                                describe(made.question)));
        }
    }
    return verdict;
}

std::string summary(const ImageVerdict& verdict, const image::Control& features, const std::string& judged_by) {
    std::string text = fmt::format(
        "judge: {}; {} cases, {} in ring 3, {} faults, {} with early accessed flags, {} with a known deviation, {} "
        "differences; {} levels, {} physical bits,",
        judged_by, verdict.cases, verdict.in_ring_3, verdict.faults, verdict.early_accessed, verdict.deviations,
        verdict.differences, features.levels, features.physical_bits);
    for (const auto& [feature, name] : {std::pair{Feature::smep, "SMEP"},
                                        {Feature::smap, "SMAP"},
                                        {Feature::user_keys, "PKU"},
                                        {Feature::supervisor_keys, "PKS"},
                                        {Feature::gigabyte_pages, "1GiB"}}) {
        text += fmt::format(" {}{}", offers(features, feature) ? "" : "no ", name);
    }
    return text;
}

}  // namespace penumbra::test
