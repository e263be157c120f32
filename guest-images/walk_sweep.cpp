// Asks the processor what the guest walk is asked: for each case it builds the page tables, sets the mode, makes the
// access in ring 3 or ring 0, and writes down which exception came and what became of the entries. It judges nothing.
// Its own code and data lie in supervisor pages, so that SMEP and SMAP can be on.
#pragma GCC target("general-regs-only")

#include "guest-images/common/runtime.hpp"
#include "guest-images/common/walk_sweep_abi.hpp"
#include "guest-images/common/walk_sweep_processor.hpp"

namespace {

using namespace penumbra;
using namespace penumbra::abi::walk_sweep;
using namespace penumbra::guest::sweep;

constexpr std::uint64_t p = 1, w = 2, u = 4, marked = 0x60, large = 0x80;
constexpr std::uint64_t user_map = 256ULL << 30;  // where ring 3 finds its code, and a page on its stack
constexpr std::uint64_t user_read = 0, user_write = 16, user_fetch = 32;
constexpr std::uint64_t cr0_wp = 1ULL << 16;
constexpr std::uint64_t cr4_pge = 1ULL << 7, cr4_smep = 1ULL << 20, cr4_smap = 1ULL << 21, cr4_pke = 1ULL << 22,
                        cr4_pks = 1ULL << 24;
constexpr std::uint32_t msr_pkrs = 0x6E1;
constexpr std::uint64_t efer_nxe = 1ULL << 11;

std::uint64_t* words(std::uint64_t gpa) { return reinterpret_cast<std::uint64_t*>(gpa); }
Control& control() { return *reinterpret_cast<Control*>(control_block); }

bool has(std::uint32_t flags, CaseFlag flag) { return (flags & static_cast<std::uint32_t>(flag)) != 0; }

void say(const char* text) {
    for (; *text != 0; ++text) asm volatile("outb %0, %1" : : "a"(*text), "d"(serial_port));
}
[[noreturn]] void leave(std::uint32_t status) {
    asm volatile("outl %0, %1" : : "a"(status), "d"(exit_port));
    for (;;) guest::cpu_relax();
}

/// One supervisor map of the first GiB and of the guest port, and ring 3's two pages.
void build_own_map() {
    std::uint64_t* const upper = words(own_tables);
    std::uint64_t* const low = words(own_tables + 0x1000);
    std::uint64_t* const port = words(own_tables + 0x2000);
    std::uint64_t* const user_upper = words(own_tables + 0x3000);
    std::uint64_t* const user = words(own_tables + 0x4000);
    std::uint64_t* const top = control().levels == 5 ? words(own_tables + 0x5000) : words(root_table);
    if (control().levels == 5) words(root_table)[0] = (own_tables + 0x5000) | p | w | u | marked;
    top[0] = own_tables | p | w | u | marked;
    upper[0] = (own_tables + 0x1000) | p | w | marked;
    upper[3] = (own_tables + 0x2000) | p | w | marked;
    upper[user_map >> 30] = (own_tables + 0x3000) | p | w | u | marked;
    for (std::uint64_t i = 0; i < 512; ++i) low[i] = i << 21 | p | w | marked | large;
    port[abi::guest_port_base >> 21 & 511] = abi::guest_port_base | p | w | marked | large;
    user_upper[0] = (own_tables + 0x4000) | p | w | u | marked;
    user[0] = user_code | p | u | marked;
    user[1] = user_stack | p | w | u | marked;
    auto* const code = reinterpret_cast<std::uint64_t*>(user_code);
    code[user_read / 8] = 0x0B0F'188B48;   // mov (%rax), %rbx; ud2
    code[user_write / 8] = 0x0B0F'188948;  // mov %rbx, (%rax); ud2
    code[user_fetch / 8] = 0x0B0F'D0FF;    // call *%rax; ud2
    *words(target_page) = target_word;
}

bool set_cr4(std::uint64_t value) { return sweep_step(Step::set_cr4, 0, value, 0, 0) == no_exception; }

void tell_features() {
    Control& told = control();
    const CpuidAnswer name = cpuid(0);
    const std::uint32_t letters[3] = {name.ebx, name.edx, name.ecx};
    __builtin_memcpy(told.vendor, letters, sizeof(letters));
    told.physical_bits = cpuid(0x8000'0008).eax & 0xFF;
    const CpuidAnswer extended = cpuid(7);
    std::uint64_t features = 0;
    const std::uint64_t base = read_cr4() & ~(cr4_pge | cr4_smep | cr4_smap | cr4_pke | cr4_pks);
    const auto offer = [&](bool promised, std::uint64_t bit, Feature feature) {
        if (promised && set_cr4(base | bit)) features |= static_cast<std::uint64_t>(feature);
    };
    offer((extended.ebx >> 7 & 1) != 0, cr4_smep, Feature::smep);
    offer((extended.ebx >> 20 & 1) != 0, cr4_smap, Feature::smap);
    offer((extended.ecx >> 3 & 1) != 0, cr4_pke, Feature::user_keys);
    offer((extended.ecx >> 31 & 1) != 0, cr4_pks, Feature::supervisor_keys);
    set_cr4(base);
    if ((cpuid(0x8000'0001).edx >> 26 & 1) != 0) features |= static_cast<std::uint64_t>(Feature::gigabyte_pages);
    told.features = features;
}

/// The mode that the last case left, so that only changes are made.
struct Mode {
    std::uint64_t cr0 = read_cr0(), cr4 = read_cr4(), efer = read_efer();

    void become(const Case& one) {
        const auto with = [&](std::uint64_t value, std::uint64_t bit, CaseFlag flag) {
            return has(one.flags, flag) ? value | bit : value & ~bit;
        };
        const std::uint64_t new_cr0 = with(cr0, cr0_wp, CaseFlag::write_protect);
        const std::uint64_t new_efer = with(efer, efer_nxe, CaseFlag::no_execute);
        std::uint64_t new_cr4 = with(cr4, cr4_smep, CaseFlag::smep);
        new_cr4 = with(new_cr4, cr4_smap, CaseFlag::smap);
        new_cr4 = with(new_cr4, cr4_pke, CaseFlag::user_keys);
        new_cr4 = with(new_cr4, cr4_pks, CaseFlag::supervisor_keys);
        if (new_cr0 != cr0) must(sweep_step(Step::set_cr0, 0, new_cr0, 0, 0));
        if (new_cr4 != cr4) must(sweep_step(Step::set_cr4, 0, new_cr4, 0, 0));
        if (new_efer != efer) must(sweep_step(Step::set_msr, msr_efer, new_efer, 0, 0));
        if (has(one.flags, CaseFlag::user_keys)) set_user_key_rights(one.user_key_rights);
        if (has(one.flags, CaseFlag::supervisor_keys)) {
            must(sweep_step(Step::set_msr, msr_pkrs, one.supervisor_key_rights, 0, 0));
        }
        cr0 = new_cr0, cr4 = new_cr4, efer = new_efer;
    }
    static void must(std::uint64_t vector) {
        if (vector == no_exception) return;
        say("walk_sweep: a mode was refused\n");
        leave(1);
    }
};

std::uint64_t& entry_of(std::uint64_t address, unsigned level) {
    const std::uint64_t tables[] = {0,         table_1, table_2, table_3, control().levels == 5 ? table_4 : root_table,
                                    root_table};
    return words(tables[level])[address >> (3 + 9 * level) & 511];
}

std::uint64_t access(const Case& one) {
    if (has(one.flags, CaseFlag::user)) {
        std::uint64_t code = user_map + user_read;
        if (has(one.flags, CaseFlag::write)) code = user_map + user_write;
        if (has(one.flags, CaseFlag::fetch)) code = user_map + user_fetch;
        const std::uint64_t vector = sweep_step(Step::user, one.address, target_word, 0, code);
        const std::uint64_t end = code + (has(one.flags, CaseFlag::fetch) ? 2 : 3);
        constexpr std::uint64_t undefined = 6;  // how ring 3 says that it got there
        return vector == undefined && sweep_trap_record.instruction == end ? no_exception : vector;
    }
    Step step = Step::read;
    if (has(one.flags, CaseFlag::write)) step = Step::write;
    if (has(one.flags, CaseFlag::fetch)) step = Step::fetch;
    constexpr std::uint64_t ac = 1ULL << 18;
    return sweep_step(step, one.address, target_word, has(one.flags, CaseFlag::access_user) ? ac : 0, 0);
}

void run_case(const Case& one, CaseResult& result, Mode& mode) {
    const auto levels = static_cast<unsigned>(control().levels);
    for (unsigned level = levels; level > 0; --level) entry_of(one.address, level) = one.entries[levels - level];
    mode.become(one);
    load_root(root_table);
    if (has(one.flags, CaseFlag::read_first)) sweep_step(Step::read, one.address, 0, 0, 0);
    const std::uint64_t vector = access(one);
    result.vector = static_cast<std::uint32_t>(vector);
    if (vector != no_exception) {
        result.error_code = static_cast<std::uint32_t>(sweep_trap_record.error_code);
        result.instruction = sweep_trap_record.instruction;
        result.fault_address = sweep_trap_record.fault_address;
    }
    for (unsigned level = levels; level > 0; --level) result.entries[levels - level] = entry_of(one.address, level);
    entry_of(one.address, levels) = 0;
}

}  // namespace

extern "C" void image_main(const abi::BootInfo* /*boot*/, std::uint64_t cpu) {
    if (cpu != 0) return;
    const Control& asked = control();
    if (asked.magic != control_magic || asked.cases > most_cases || (asked.levels != 4 && asked.levels != 5)) {
        say("walk_sweep: no cases in memory\n");
        leave(1);
    }
    build_own_map();
    load_root(root_table);
    take_exceptions();
    tell_features();
    Mode mode;
    const auto* const cases = reinterpret_cast<const Case*>(cases_base);
    auto* const results = reinterpret_cast<CaseResult*>(results_base);
    for (std::uint64_t i = 0; i < control().cases; ++i) {
        run_case(cases[i], results[i], mode);
        control().done = i + 1;
    }
    leave(0);
}
