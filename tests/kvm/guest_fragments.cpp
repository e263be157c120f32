#include "tests/kvm/guest_fragments.hpp"

#include <array>
#include <cstring>
#include <span>

#include "tests/kvm/guest_code.hpp"
#include "vmm/boot/boot_state.hpp"

namespace penumbra::vmm::test {

namespace {

constexpr std::uint64_t tables_gpa = 0x9'0000;  // per vCPU a page: pointers, GDT, TSS; one IDT behind them
constexpr std::uint64_t idt_gpa = 0x9'8000;
constexpr std::uint64_t gdt_offset = 0x100, tss_offset = 0x200;
constexpr std::uint64_t trap_stack_gpa = 0x9'A000;
constexpr std::uint32_t cpus = 2;

std::uint64_t guest_address(const std::byte* label) {
    return abi::image_base + static_cast<std::uint64_t>(label - guest_code_begin);
}

const std::byte* code_of(Fragment fragment) {
    switch (fragment) {
        case Fragment::store:
            return guest_store;
        case Fragment::load:
            return guest_load;
        case Fragment::port_out:
            return guest_port_out;
        case Fragment::port_string:
            return guest_port_string;
        case Fragment::spin:
            return guest_spin;
        case Fragment::halt:
            return guest_halt;
        case Fragment::popcount:
            return guest_popcount;
        case Fragment::undefined:
            return guest_undefined;
        case Fragment::count_ticks:
            return guest_count_ticks;
        case Fragment::sweep:
            return guest_sweep;
    }
    return guest_halt;
}

}  // namespace

Result<std::unique_ptr<FragmentMachine>> FragmentMachine::create() {
    std::unique_ptr<FragmentMachine> machine(new FragmentMachine);
    PENUMBRA_TRY(machine->build());
    return machine;
}

Result<> FragmentMachine::build() {
    PENUMBRA_TRY_ASSIGN(const Kvm kvm, Kvm::open());
    PENUMBRA_TRY_ASSIGN(vm_, Vm::create(kvm));
    PENUMBRA_TRY_ASSIGN(ram_, MappedRegion::anonymous(ram_bytes));
    PENUMBRA_TRY_ASSIGN(const AddressLayout layout, AddressLayout::create(ram_bytes));
    const RamPart& part = layout.parts().front();
    PENUMBRA_TRY(vm_->set_memory_region(SlotNumber{0}, part.guest, ram_.pages().first(), SlotAccess::read_write));
    PENUMBRA_TRY(write_boot_state({}, layout, [this](Gpa gpa, std::span<const std::byte> bytes) -> Result<> {
        std::memcpy(ram() + gpa.value(), bytes.data(), bytes.size());
        return {};
    }));
    std::memcpy(ram() + abi::image_base, guest_code_begin, static_cast<std::size_t>(guest_code_end - guest_code_begin));
    for (std::uint32_t i = 0; i < cpus; ++i) {
        PENUMBRA_TRY_ASSIGN(auto vcpu, vm_->create_vcpu(i));
        vcpus_.push_back(std::move(vcpu));
    }
    return {};
}

void FragmentMachine::write_descriptor_tables() {
    const auto put = [this]<class T>(std::uint64_t gpa, T value) { std::memcpy(ram() + gpa, &value, sizeof(value)); };
    for (std::uint64_t cpu = 0; cpu < cpus; ++cpu) {
        const std::uint64_t base = tables_gpa + cpu * page_bytes;
        const std::uint64_t tss = base + tss_offset;
        const std::array<std::uint64_t, 7> gdt{0,  // then kernel code and data, user data and code, and the task state
                                               0x00AF9B000000FFFF,
                                               0x00CF93000000FFFF,
                                               0x00CFF3000000FFFF,
                                               0x00AFFB000000FFFF,
                                               0x0000890000000067 | (tss & 0xFFFFFF) << 16,
                                               tss >> 32};
        put(base + gdt_offset, gdt);
        put(tss + 4, trap_stack_gpa + (cpu + 1) * page_bytes);  // RSP0
        put(base, static_cast<std::uint16_t>(sizeof(gdt) - 1));
        put(base + 2, base + gdt_offset);
        put(base + 16, std::uint16_t{32 * 16 - 1});
        put(base + 18, idt_gpa);
    }
    for (std::uint64_t vector = 0; vector < 32; ++vector) {
        const std::uint64_t handler = guest_address(guest_trap_stubs) + vector * 16;
        put(idt_gpa + vector * 16, (handler & 0xFFFF) | 0x8E00'0008'0000 | (handler & 0xFFFF'0000) << 32);
    }
}

Result<> FragmentMachine::start(std::uint32_t cpu, const Start& start) {
    write_descriptor_tables();  // an earlier start marked its task state busy
    PENUMBRA_TRY(vcpu(cpu).set_long_mode(boot_entry(cpu)));
    PENUMBRA_TRY_ASSIGN(Registers registers, vcpu(cpu).registers());
    registers.rip = guest_address(start.ring == abi::Ring::user ? guest_enter_user : code_of(start.fragment));
    registers.rbx = guest_address(code_of(start.fragment));
    registers.r8 = start.user_flags;
    registers.r9 = tables_gpa + cpu * page_bytes;
    registers.rcx = start.rcx;
    registers.rdx = start.rdx;
    registers.rsi = start.rsi;
    registers.rdi = start.rdi;
    return vcpu(cpu).set_registers(registers);
}

}  // namespace penumbra::vmm::test
