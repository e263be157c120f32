// A hostile guest at its two devices: any register accesses, any ring contents, while the host takes pages away.
// Nothing may crash, hang, or reach memory that no entry allows.
//
// covers: vmm/devices/guest_port.cpp vmm/devices/accelerator/accelerator.cpp vmm/devices/accelerator/command.cpp
// covers: vmm/devices/accelerator/ring_control.cpp vmm/devices/accelerator/engine.cpp
// covers: vmm/devices/accelerator/ring_control_engine.cpp vmm/devices/accelerator/read_ahead.cpp
// covers: vmm/devices/accelerator/physical_pages.cpp vmm/devices/accelerator/process_pages.cpp
// covers: vmm/devices/accelerator/process_spaces.cpp
#include <fuzzer/FuzzedDataProvider.h>
#include <sched.h>

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "base/assert.hpp"
#include "tests/support/accelerator_machine.hpp"
#include "vmm/devices/guest_port.hpp"

namespace {

using namespace penumbra;
using penumbra::test::AcceleratorMachine;

/// The machine's memory as a device sees it.
struct Memory final : vmm::GuestMemory {
    explicit Memory(AcceleratorMachine& machine) : machine_(machine) {}
    Result<> read(Gpa from, std::span<std::byte> to) override {
        if (!is_ram(from, to.size())) return fail("read guest memory");
        machine_.read(from, to);
        return {};
    }
    Result<> write(Gpa to, std::span<const std::byte> from) override {
        if (!is_ram(to, from.size())) return fail("write guest memory");
        machine_.write(to, from);
        return {};
    }
    [[nodiscard]] bool is_ram(Gpa first, std::uint64_t bytes) {
        for (const mmu::Memslot& slot : machine_.table().memslots().slots()) {
            const std::uint64_t begin = address_of(slot.guest.first()).value();
            const std::uint64_t length = slot.guest.bytes();
            if (first.value() >= begin && first.value() - begin <= length && bytes <= length - (first.value() - begin))
                return true;
        }
        return false;
    }
    AcceleratorMachine& machine_;
};

struct Listener final : vmm::GuestPortListener {
    void guest_printed(std::string_view line) override {
        for (const char c : line)
            PENUMBRA_ASSERT(static_cast<unsigned char>(c) >= ' ', "a control character came through");
    }
    void guest_exited(std::uint64_t) override { PENUMBRA_ASSERT(++ends <= 1, "the run ended twice"); }
    void guest_trapped(std::uint32_t, std::uint64_t) override { PENUMBRA_ASSERT(++ends <= 1, "the run ended twice"); }
    unsigned ends = 0;
};

/// Says what to touch, three times.
struct Touches final : vmm::TouchSource {
    std::optional<Touch> next(std::uint32_t) override {
        if (left == 0) return std::nullopt;
        --left;
        return Touch{address_of(AcceleratorMachine::low_first), abi::TouchKind::write};
    }
    void touched(std::uint32_t, std::uint64_t) override {}
    unsigned left = 3;
};

/// Addresses in RAM, at its edges, and anywhere.
std::uint64_t some_address(FuzzedDataProvider& input) {
    const auto offset = input.ConsumeIntegralInRange<std::uint64_t>(0, 41 * page_bytes);
    switch (input.ConsumeIntegralInRange(0, 3)) {
        case 0:
            return input.ConsumeIntegral<std::uint64_t>();
        case 1:
            return address_of(AcceleratorMachine::high_first).value() + offset;
        default:
            return address_of(AcceleratorMachine::low_first).value() + offset;
    }
}

std::uint64_t some_value(FuzzedDataProvider& input) {
    constexpr std::array<std::uint64_t, 8> telling{0, 1, 2, 3, 16, 1024, 1025, ~std::uint64_t{0}};
    switch (input.ConsumeIntegralInRange(0, 2)) {
        case 0:
            return input.PickValueInArray(telling);
        case 1:
            return some_address(input);
        default:
            return input.ConsumeIntegral<std::uint64_t>();
    }
}

void access(FuzzedDataProvider& input, vmm::Device& device) {
    const bool aligned = input.ConsumeIntegralInRange(0, 7) != 0;
    const std::uint64_t offset = aligned ? 8 * input.ConsumeIntegralInRange<std::uint64_t>(0, 10)
                                         : input.ConsumeIntegralInRange<std::uint64_t>(0, page_bytes - 1);
    const unsigned bytes = aligned ? 8 : input.ConsumeIntegralInRange(1U, 8U);
    if (input.ConsumeBool()) {
        device.write(offset, bytes, some_value(input));
    } else {
        (void)device.read(offset, bytes);
    }
}

void put_command(FuzzedDataProvider& input, Memory& memory) {
    abi::AccelCommand command{};
    command.opcode = input.ConsumeIntegralInRange(0, 7) == 0 ? input.ConsumeIntegral<std::uint32_t>()
                                                             : input.ConsumeIntegralInRange(0U, 5U);
    if (input.ConsumeIntegralInRange(0, 7) == 0) command.flags = input.ConsumeIntegral<std::uint32_t>();
    command.source = some_address(input);
    command.target = some_address(input);
    command.bytes =
        input.ConsumeBool() ? input.ConsumeIntegralInRange<std::uint64_t>(0, 3 * page_bytes) : some_value(input);
    (void)memory.write(Gpa{some_address(input) & ~std::uint64_t{63}}, std::as_bytes(std::span{&command, 1}));
}

/// A ring as a good driver makes it, with commands that mostly make sense.
void make_ring(FuzzedDataProvider& input, AcceleratorMachine& machine) {
    machine.set(abi::AccelRegister::control, 0);
    machine.enable(std::uint64_t{1} << input.ConsumeIntegralInRange(1, 10));
    const auto place = [&] {
        const Gfn half = input.ConsumeBool() ? AcceleratorMachine::low_first : AcceleratorMachine::high_first;
        return address_of(half + 20).value() + input.ConsumeIntegralInRange<std::uint64_t>(0, 19 * page_bytes);
    };
    for (auto left = input.ConsumeIntegralInRange(1U, 4U); left > 0; --left) {
        abi::AccelCommand command{};
        command.opcode = input.ConsumeIntegralInRange(0U, 4U);
        command.source = place();
        command.target = input.ConsumeIntegralInRange(0, 7) == 0 ? command.source : place();
        command.bytes = input.ConsumeIntegralInRange<std::uint64_t>(0, 6 * page_bytes);
        machine.put(command);
    }
    machine.doorbell();
}

/// An entry of a page table or a PASID table: mostly to a page that may be either, or data.
std::uint64_t some_entry(FuzzedDataProvider& input) {
    if (input.ConsumeIntegralInRange(0, 7) == 0) return input.ConsumeIntegral<std::uint64_t>();
    const Gfn half = input.ConsumeBool() ? AcceleratorMachine::low_first : AcceleratorMachine::high_first;
    const Gpa page = address_of(half + input.ConsumeIntegralInRange<std::uint64_t>(0, 8));
    return page.value() | input.ConsumeIntegralInRange<std::uint64_t>(0, 0xFF);
}

/// PASID table, tables and queue lie anywhere in a few pages, also on one another. Commands use the lowest addresses.
void make_process_ring(FuzzedDataProvider& input, AcceleratorMachine& machine) {
    const auto page = [&] {
        return address_of(AcceleratorMachine::high_first + input.ConsumeIntegralInRange<std::uint64_t>(0, 8));
    };
    const Gpa pasids = page();
    machine.set(abi::AccelRegister::control, 0);
    machine.set(abi::AccelRegister::pasid_table_gpa, pasids.value());
    machine.set(abi::AccelRegister::request_queue_gpa, input.ConsumeBool() ? page().value() : 0);
    for (auto left = input.ConsumeIntegralInRange(0U, 12U); left > 0; --left) {
        machine.store(page() + 8 * input.ConsumeIntegralInRange<std::uint64_t>(0, 3), some_entry(input));
    }
    for (std::uint64_t pasid = 0; pasid < 3; ++pasid) {
        machine.store(pasids + pasid * sizeof(abi::PasidEntry) + 8, 0);
        machine.store(pasids + pasid * sizeof(abi::PasidEntry), some_entry(input));
    }
    machine.enable(32);
    for (auto left = input.ConsumeIntegralInRange(1U, 4U); left > 0; --left) {
        abi::AccelCommand command{};
        command.opcode = input.ConsumeIntegralInRange(0U, 5U);
        command.flags = input.ConsumeIntegralInRange(0, 7) == 0 ? input.ConsumeIntegral<std::uint32_t>() : 1;
        command.pasid = input.ConsumeIntegralInRange(0U, 3U);
        command.source = input.ConsumeIntegralInRange<std::uint64_t>(0, 4 * page_bytes);
        command.target = input.ConsumeIntegralInRange(0, 3) == 0
                             ? some_value(input)
                             : input.ConsumeIntegralInRange<std::uint64_t>(0, 8 * page_bytes);
        command.bytes = input.ConsumeIntegralInRange<std::uint64_t>(0, 3 * page_bytes);
        machine.put(command);
    }
    machine.doorbell();
}

/// A guest that answers what it is asked, and changes tables, while the device works.
void be_guest_of_process(FuzzedDataProvider& input, AcceleratorMachine& machine) {
    for (unsigned i = 0; i < 20 && input.remaining_bytes() > 0; ++i) {
        const std::uint64_t newest = machine.get(abi::AccelRegister::request_response);
        machine.set(abi::AccelRegister::request_response, newest * 2 + input.ConsumeIntegralInRange(0U, 1U));
        const Gfn page = AcceleratorMachine::high_first + input.ConsumeIntegralInRange<std::uint64_t>(0, 8);
        machine.store(address_of(page) + 8 * input.ConsumeIntegralInRange<std::uint64_t>(0, 3), some_entry(input));
        ::sched_yield();
    }
}

/// The device is reset while its command waits for pages that do not come.
void reset_while_waiting(FuzzedDataProvider& input, AcceleratorMachine& machine) {
    make_ring(input, machine);
    machine.pager().set_mood(test::FakePages::Mood::hold);
    machine.evict_all();
    for (unsigned i = 0; i < 200 && machine.pager().waiting() == 0; ++i) ::sched_yield();
    machine.device().reset();
    machine.pager().set_mood(test::FakePages::Mood::serve);
}

/// A line as a good guest prints it, but for its length.
void print(FuzzedDataProvider& input, Memory& memory, vmm::GuestPort& port) {
    const Gpa at{some_address(input)};
    const std::string text = input.ConsumeRandomLengthString(80);
    const std::uint64_t length = input.ConsumeIntegralInRange(0, 3) == 0 ? some_value(input) : text.size();
    if (memory.write(at, std::as_bytes(std::span{&length, 1}))) {
        (void)memory.write(at + sizeof(length), std::as_bytes(std::span{text}));
    }
    port.write(static_cast<std::uint64_t>(abi::Port::console), 8, at.value());
}

void clear(AcceleratorMachine& machine) {
    static const std::vector<std::byte> zeroes(AcceleratorMachine::slot_pages * page_bytes);
    machine.write(address_of(AcceleratorMachine::low_first), zeroes);
    machine.write(address_of(AcceleratorMachine::high_first), zeroes);
    machine.evict_all();
}

/// Lets the engine come to an end with what it has, for a bounded while.
void let_work(AcceleratorMachine& machine) {
    for (unsigned i = 0; i < 50; ++i) {
        if ((machine.get(abi::AccelRegister::status) & 1) == 0) return;
        ::sched_yield();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    FuzzedDataProvider input(data, size);
    // One machine for all inputs, for speed; each begins with a reset device and zeroes in memory that is paged out.
    static AcceleratorMachine machine;
    machine.device().reset();
    Memory memory(machine);
    clear(machine);
    Listener listener;
    Touches touches;
    vmm::GuestPort port(memory, listener, input.ConsumeBool() ? &touches : nullptr);
    const ThreadRoleScope role(ThreadRole::vcpu, 0);
    for (unsigned step = 0; step < 100 && input.remaining_bytes() > 0; ++step) {
        switch (input.ConsumeIntegralInRange(0, 16)) {
            case 0:
                make_ring(input, machine);
                break;
            case 1:
            case 2:
                put_command(input, memory);
                break;
            case 3:
                access(input, port);
                break;
            case 4:
                machine.evict_all();
                break;
            case 5:
                let_work(machine);
                break;
            case 6:
                machine.device().reset();
                break;
            case 13:
            case 14:
                make_process_ring(input, machine);
                break;
            case 15:
            case 16:
                be_guest_of_process(input, machine);
                break;
            case 8:
                print(input, memory, port);
                break;
            case 10:
                reset_while_waiting(input, machine);
                break;
            case 9:
                machine.device().pause();
                if (input.ConsumeBool()) machine.evict_all();
                machine.device().resume();
                break;
            case 7: {
                const std::string bytes = input.ConsumeRandomLengthString(64);
                (void)memory.write(Gpa{some_address(input)}, std::as_bytes(std::span{bytes}));
                break;
            }
            default:
                access(input, machine.device());
        }
    }
    let_work(machine);
    machine.device().reset();
    PENUMBRA_ASSERT(machine.window().violations() == 0, "the window was changed against its contract");
    PENUMBRA_ASSERT(machine.processes().shadow_pages() == 0 && machine.processes().watched_tables() == 0,
                    "a reset left processes behind");
    return 0;
}
