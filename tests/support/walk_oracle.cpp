#include "tests/support/walk_oracle.hpp"

#include <bit>
#include <string_view>

namespace penumbra::test {

namespace {

using mmu::GuestFaultCause;

// Entries as the SDM draws them (volume 3, figure 4-11 and tables 4-14 to 4-20), bit 63 first. X: execute-disable, or
// reserved. K: key. A: address, reserved from MAXPHYADDR up. T: PAT. G: global. D: dirty. a: accessed. C, H: cache
// disable and write-through. U, W, P. S: the bit that makes it a large page. 0: reserved. g: reserved by AMD. '.':
// ignored.
constexpr std::string_view table_pml5 = "X...........AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA...g0.aCHUWP";
constexpr std::string_view table_pml4 = table_pml5;
constexpr std::string_view table_pdpt = "X...........AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA......aCHUWP";
constexpr std::string_view page_1gib = "XKKKK.......AAAAAAAAAAAAAAAAAAAAAA00000000000000000T...GSDaCHUWP";
constexpr std::string_view table_pd = table_pdpt;
constexpr std::string_view page_2mib = "XKKKK.......AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA00000000T...GsDaCHUWP";
constexpr std::string_view page_4kib = "XKKKK.......AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA...GTDaCHUWP";

enum class Form : unsigned { table, page };
enum class Feature : bool { no, yes };

constexpr std::string_view picture(unsigned level, Form form) {
    constexpr std::array tables{std::string_view{}, page_4kib, table_pd, table_pdpt, table_pml4, table_pml5};
    constexpr std::array pages{std::string_view{}, page_4kib, page_2mib, page_1gib, table_pml4, table_pml5};
    return form == Form::table ? tables.at(level) : pages.at(level);
}
constexpr std::uint64_t where(std::string_view drawn, char sign) {
    std::uint64_t mask = 0;
    for (std::size_t i = 0; i < drawn.size(); ++i) {
        if (drawn[i] == sign) mask |= std::uint64_t{1} << (63 - i);
    }
    return mask;
}
static_assert(page_4kib.size() == 64 && page_2mib.size() == 64 && page_1gib.size() == 64 && table_pml5.size() == 64 &&
              table_pdpt.size() == 64);

constexpr unsigned widest = 52;
constexpr unsigned narrowest = 32;

/// Masks of one kind of entry, for every processor.
struct Masks {
    std::uint64_t address = 0, pat = 0;
    unsigned page_bits = 0;
    std::array<std::array<std::array<std::array<std::uint64_t, 2>, 2>, 2>, widest + 1> must_be_zero{};  // nx, 1g, amd

    constexpr Masks(unsigned level, Form form) {
        const std::string_view drawn = picture(level, form);
        address = where(drawn, 'A');
        pat = where(drawn, 'T');
        page_bits = static_cast<unsigned>(std::countr_zero(address));
        for (unsigned width = narrowest; width <= widest; ++width) {
            for (unsigned flags = 0; flags < 8; ++flags) {
                std::uint64_t zero = where(drawn, '0');
                for (unsigned bit = width; bit < 64; ++bit) zero |= address & (std::uint64_t{1} << bit);
                if ((flags & 1) == 0) zero |= where(drawn, 'X');
                if ((flags & 2) == 0) zero |= where(drawn, 'S');
                if ((flags & 4) != 0) zero |= where(drawn, 'g');
                must_be_zero[width][flags & 1][flags >> 1 & 1][flags >> 2 & 1] = zero;
            }
        }
    }
    [[nodiscard]] std::uint64_t reserved(const mmu::PagingMode& mode) const {
        return must_be_zero[mode.physical_bits][mode.no_execute ? 1 : 0][mode.gigabyte_pages ? 1 : 0]
                           [mode.upper_global == mmu::UpperGlobalBit::reserved ? 1 : 0];
    }
};

const Masks& masks(unsigned level, Form form) {
    static const std::array<std::array<Masks, 2>, 6> all{{{Masks{1, Form::page}, Masks{1, Form::page}},
                                                          {Masks{1, Form::page}, Masks{1, Form::page}},
                                                          {Masks{2, Form::table}, Masks{2, Form::page}},
                                                          {Masks{3, Form::table}, Masks{3, Form::page}},
                                                          {Masks{4, Form::table}, Masks{4, Form::table}},
                                                          {Masks{5, Form::table}, Masks{5, Form::table}}}};
    return all[level][static_cast<unsigned>(form)];
}

constexpr std::uint64_t present_bit = where(page_4kib, 'P'), writable_bit = where(page_4kib, 'W'),
                        user_bit = where(page_4kib, 'U'), accessed_bit = where(page_4kib, 'a'),
                        dirty_bit = where(page_4kib, 'D'), execute_disable_bit = where(page_4kib, 'X'),
                        key_bits = where(page_4kib, 'K'), large_bit = where(page_2mib, 's'),
                        global_bit = where(page_4kib, 'G');
static_assert(large_bit == where(page_1gib, 'S') && large_bit == 0x80);

// The nine accesses as a set: user, supervisor, implicit; each read, write, execute.
using Accesses = unsigned;
constexpr Accesses user_r = 1, user_w = 2, user_x = 4, super_r = 8, super_w = 16, super_x = 32, implicit_r = 64,
                   implicit_w = 128, implicit_x = 256;
constexpr Accesses of_user = user_r | user_w | user_x;
constexpr Accesses fetches = user_x | super_x | implicit_x;
constexpr Accesses data = ~fetches & 511U;
constexpr Accesses supervisor_writes = super_w | implicit_w;

Accesses as_set(mmu::GuestAccess access) {
    return 1U << (static_cast<unsigned>(access.privilege) * 3 + static_cast<unsigned>(access.kind));
}
constexpr std::uint32_t reason(GuestFaultCause cause) { return 1U << static_cast<unsigned>(cause); }

/// The chain summed up.
struct Chain {
    unsigned used = 0;  ///< entries looked at, the stopping one included
    unsigned leaf_level = 0;
    bool absent = false, reserved = false;
    std::uint64_t all = ~std::uint64_t{0}, any = 0;  ///< AND and OR of the entries
    std::uint64_t leaf = 0;
};

Chain sum_up(const WalkCase& question) {
    Chain chain;
    const auto levels = static_cast<unsigned>(question.mode.top);
    for (unsigned level = levels; level > 0 && chain.leaf_level == 0; --level) {
        const std::uint64_t entry = question.entries[levels - level];
        const bool page = level == 1 || (level < 4 && (entry & large_bit) != 0);
        ++chain.used;
        chain.absent = (entry & present_bit) == 0;
        chain.reserved =
            !chain.absent && (entry & masks(level, page ? Form::page : Form::table).reserved(question.mode)) != 0;
        if (chain.absent || chain.reserved) return chain;
        chain.all &= entry;
        chain.any |= entry;
        if (page) chain.leaf_level = level, chain.leaf = entry;
    }
    return chain;
}

unsigned key_of(std::uint64_t leaf) { return static_cast<unsigned>((leaf & key_bits) >> std::countr_zero(key_bits)); }

/// Each row: what holds, and which accesses it forbids for which reason (SDM volume 3, 4.6.1 and 4.6.2).
std::uint32_t denials(const WalkCase& question, const Chain& chain) {
    const mmu::PagingMode& mode = question.mode;
    const bool user_page = (chain.all & user_bit) != 0;
    const bool read_only = (chain.all & writable_bit) == 0;
    const bool no_fetch = mode.no_execute && (chain.any & execute_disable_bit) != 0;
    const auto key_right = [&](std::uint32_t rights, unsigned bit) {
        return (rights >> (2 * key_of(chain.leaf) + bit) & 1) != 0;
    };
    const bool user_key = user_page && mode.user_keys;
    const bool super_key = !user_page && mode.supervisor_keys;
    struct Row {
        bool holds;
        Accesses forbidden;
        GuestFaultCause cause;
    };
    const Row rows[] = {
        {!user_page, of_user, GuestFaultCause::user_denied},
        {read_only, user_w, GuestFaultCause::write_denied},
        {read_only && mode.write_protect, supervisor_writes, GuestFaultCause::write_denied},
        {no_fetch, fetches, GuestFaultCause::no_execute},
        {user_page && mode.smep, super_x | implicit_x, GuestFaultCause::smep},
        {user_page && mode.smap, implicit_r | implicit_w, GuestFaultCause::smap},
        {user_page && mode.smap && !mode.access_user, super_r | super_w, GuestFaultCause::smap},
        {user_key && key_right(mode.user_key_rights, 0), data, GuestFaultCause::protection_key},
        {user_key && key_right(mode.user_key_rights, 1), user_w, GuestFaultCause::protection_key},
        {user_key && key_right(mode.user_key_rights, 1) && mode.write_protect, supervisor_writes,
         GuestFaultCause::protection_key},
        {super_key && key_right(mode.supervisor_key_rights, 0), data, GuestFaultCause::protection_key},
        {super_key && key_right(mode.supervisor_key_rights, 1) && mode.write_protect, user_w | supervisor_writes,
         GuestFaultCause::protection_key},
    };
    const Accesses asked = as_set(question.access);
    std::uint32_t reasons = 0;
    for (const Row& row : rows) {
        if (row.holds && (row.forbidden & asked) != 0) reasons |= reason(row.cause);
    }
    return reasons;
}

std::uint32_t code_of(const WalkCase& question, const WalkVerdict& verdict) {
    const Accesses asked = as_set(question.access);
    const auto has = [&](GuestFaultCause cause) { return (verdict.reasons & reason(cause)) != 0; };
    std::uint32_t code = 0;
    if (!has(GuestFaultCause::not_present)) code |= 0x01;
    if ((asked & (user_w | super_w | implicit_w)) != 0) code |= 0x02;
    if ((asked & of_user) != 0) code |= 0x04;
    if (has(GuestFaultCause::reserved_bit)) code |= 0x08;
    if ((asked & fetches) != 0 && (question.mode.smep || question.mode.no_execute)) code |= 0x10;
    if (has(GuestFaultCause::protection_key)) code |= 0x20;
    return code;
}

void describe_page(const WalkCase& question, const Chain& chain, WalkVerdict& verdict) {
    const Masks& leaf = masks(chain.leaf_level, Form::page);
    const std::uint64_t in_page = (std::uint64_t{1} << leaf.page_bits) - 1;
    verdict.leaf_level = chain.leaf_level;
    verdict.used = chain.used;
    verdict.physical = (chain.leaf & leaf.address) + (question.address & in_page);
    verdict.writable = (chain.all & writable_bit) != 0;
    verdict.user = (chain.all & user_bit) != 0;
    verdict.executable = !question.mode.no_execute || (chain.any & execute_disable_bit) == 0;
    verdict.dirty = (verdict.entries_after[chain.used - 1] & dirty_bit) != 0;
    verdict.global = question.mode.global_pages && (chain.leaf & global_bit) != 0;
    verdict.key = key_of(chain.leaf);
    verdict.memory_type_index = ((chain.leaf & leaf.pat) != 0 ? 4U : 0U) +
                                static_cast<unsigned>(chain.leaf >> std::countr_zero(where(page_4kib, 'H')) & 3);
}

}  // namespace

WalkVerdict oracle(const WalkCase& question) {
    WalkVerdict verdict;
    verdict.entries_after = question.entries;
    const unsigned linear_bits = question.mode.top == Level::top_5 ? 57 : 48;
    const unsigned spare = 64 - linear_bits;
    verdict.canonical =
        static_cast<std::uint64_t>(static_cast<std::int64_t>(question.address << spare) >> spare) == question.address;
    if (!verdict.canonical) {
        verdict.reasons = reason(GuestFaultCause::non_canonical);
        return verdict;
    }
    const Chain chain = sum_up(question);
    if (chain.absent) verdict.reasons = reason(GuestFaultCause::not_present);
    if (chain.reserved) verdict.reasons = reason(GuestFaultCause::reserved_bit);
    if (chain.leaf_level != 0) verdict.reasons = denials(question, chain);
    verdict.allowed = verdict.reasons == 0;
    if (!verdict.allowed) {
        verdict.error_code = code_of(question, verdict);
        return verdict;
    }
    if (question.mark == mmu::MarkPages::accessed_and_dirty) {
        for (unsigned i = 0; i < chain.used; ++i) verdict.entries_after[i] |= accessed_bit;
        if (question.access.kind == mmu::AccessKind::write) verdict.entries_after[chain.used - 1] |= dirty_bit;
    }
    describe_page(question, chain, verdict);
    return verdict;
}

}  // namespace penumbra::test
