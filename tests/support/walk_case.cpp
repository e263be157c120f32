#include "tests/support/walk_case.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace penumbra::test {

namespace {

constexpr std::uint64_t frame_bits = 0x000F'FFFF'FFFF'F000;

std::string names(const std::array<std::uint64_t, 5>& entries) {
    return fmt::format("{:x} {:x} {:x} {:x} {:x}", entries[0], entries[1], entries[2], entries[3], entries[4]);
}

std::optional<std::string> compare(const WalkVerdict& right, const mmu::GuestFault& fault) {
    if (right.allowed) return fmt::format("denied for cause {}", static_cast<unsigned>(fault.cause));
    if ((right.reasons >> static_cast<unsigned>(fault.cause) & 1) == 0) {
        return fmt::format("cause {} is none of the reasons {:#x}", static_cast<unsigned>(fault.cause), right.reasons);
    }
    if (fault.error_code != right.error_code) {
        return fmt::format("error code {:#x}, not {:#x}", fault.error_code, right.error_code);
    }
    return std::nullopt;
}

std::optional<std::string> compare(const WalkVerdict& right, const mmu::GuestTranslation& found,
                                   const ChainMemory& memory) {
    if (!right.allowed) return fmt::format("allowed, against the reasons {:#x}", right.reasons);
    if (found.gpa.value() != right.physical) {
        return fmt::format("address {:#x}, not {:#x}", found.gpa.value(), right.physical);
    }
    if (static_cast<unsigned>(found.leaf) != right.leaf_level) return "another level";
    if (found.writable != right.writable || found.user != right.user || found.executable != right.executable) {
        return "other permissions";
    }
    if (found.dirty != right.dirty || found.global != right.global) return "another dirty or global bit";
    if (found.protection_key != right.key || found.memory_type_index != right.memory_type_index) {
        return fmt::format("key {}, not {}, or memory type {}, not {}", found.protection_key, right.key,
                           found.memory_type_index, right.memory_type_index);
    }
    const auto steps = found.path.steps();
    if (steps.size() != right.used) return "another number of steps";
    for (unsigned i = 0; i < right.used; ++i) {
        if (steps[i].entry != memory.place(i) || steps[i].value != right.entries_after[i]) return "another path";
    }
    return std::nullopt;
}

}  // namespace

ChainMemory::ChainMemory(const WalkCase& chain) : values_(chain.entries) {
    std::uint64_t table = chain.root;
    for (unsigned level = static_cast<unsigned>(chain.mode.top); level > 0; --level) {
        places_[count_] = table + (chain.address >> (9 * level + 3) & 511) * 8;
        table = values_[count_] & frame_bits;
        ++count_;
    }
}

std::expected<std::uint64_t, mmu::EntryProblem> ChainMemory::read(Gpa entry) {
    for (std::size_t i = 0; i < count_; ++i) {
        if (places_[i] == entry.value()) return values_[i];
    }
    return std::unexpected{mmu::EntryProblem::not_ram};
}

mmu::EntryExchange ChainMemory::compare_exchange(Gpa entry, std::uint64_t expected, std::uint64_t desired) {
    for (std::size_t i = 0; i < count_; ++i) {
        if (places_[i] != entry.value()) continue;
        if (values_[i] != expected) return mmu::EntryExchange::changed;
        values_[i] = desired;
        return mmu::EntryExchange::done;
    }
    return mmu::EntryExchange::not_ram;
}

mmu::GuestWalkResult walk(mmu::GuestEntries& memory, const WalkCase& question) {
    return mmu::walk_guest(memory, question.mode,
                           {Gpa{question.root}, Gva{question.address}, question.access, question.mark});
}

std::optional<std::string> difference(const WalkCase& question) {
    const WalkVerdict right = oracle(question);
    ChainMemory memory(question);
    const mmu::GuestWalkResult found = walk(memory, question);
    std::optional<std::string> wrong = found ? compare(right, *found, memory) : compare(right, found.error());
    if (!wrong && memory.values() != right.entries_after) {
        wrong = fmt::format("entries {}, not {}", names(memory.values()), names(right.entries_after));
    }
    return wrong;
}

std::string describe(const WalkCase& question) {
    const mmu::PagingMode& mode = question.mode;
    std::string text = fmt::format(
        "address {:#x}, entries {}, access {} by {}, mark {}, levels {}, {} physical bits, key rights {:#x} {:#x}",
        question.address, names(question.entries), static_cast<unsigned>(question.access.kind),
        static_cast<unsigned>(question.access.privilege), static_cast<unsigned>(question.mark),
        static_cast<unsigned>(mode.top), mode.physical_bits, mode.user_key_rights, mode.supervisor_key_rights);
    const auto flag = [&](bool set, const char* name) {
        if (set) fmt::format_to(std::back_inserter(text), " {}", name);
    };
    flag(mode.write_protect, "WP");
    flag(mode.no_execute, "NXE");
    flag(mode.global_pages, "PGE");
    flag(mode.smep, "SMEP");
    flag(mode.smap, "SMAP");
    flag(mode.access_user, "AC");
    flag(mode.user_keys, "PKE");
    flag(mode.supervisor_keys, "PKS");
    flag(mode.gigabyte_pages, "1G");
    flag(mode.upper_global == mmu::UpperGlobalBit::reserved, "AMD");
    return text;
}

}  // namespace penumbra::test
