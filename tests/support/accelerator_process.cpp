#include "tests/support/accelerator_process.hpp"

#include <sched.h>

#include <chrono>

#include "base/page_size.hpp"
#include "vmm/devices/accelerator/crc32c.hpp"

namespace penumbra::test {

using abi::AccelRegister;
using std::chrono::steady_clock;

void enable_processes(AcceleratorMachine& machine, RequestQueue queue) {
    machine.set(AccelRegister::control, 0);
    machine.set(AccelRegister::pasid_table_gpa, address_of(pasid_table).value());
    machine.set(AccelRegister::request_queue_gpa,
                queue == RequestQueue::present ? address_of(request_queue).value() : 0);
    machine.enable(process_ring_entries);
}

std::optional<abi::AccelPageRequest> find_request(AcceleratorMachine& machine, std::uint64_t number) {
    if (machine.get(AccelRegister::request_response) < number) return std::nullopt;
    const Gpa at = address_of(request_queue) + number % abi::page_request_entries * sizeof(abi::AccelPageRequest);
    if (machine.load(at) != number) return std::nullopt;
    const std::uint64_t words = machine.load(at + offsetof(abi::AccelPageRequest, pasid));
    return abi::AccelPageRequest{number, machine.load(at + offsetof(abi::AccelPageRequest, address)),
                                 static_cast<std::uint32_t>(words), static_cast<std::uint32_t>(words >> 32), 0};
}

std::optional<abi::AccelPageRequest> wait_for_request(AcceleratorMachine& machine, std::uint64_t number) {
    const auto until = steady_clock::now() + std::chrono::seconds{10};
    while (steady_clock::now() < until) {
        if (const auto found = find_request(machine, number)) return found;
        ::sched_yield();
    }
    return std::nullopt;
}

void respond(AcceleratorMachine& machine, std::uint64_t number, Served served) {
    machine.set(AccelRegister::request_response, number * 2 + static_cast<std::uint64_t>(served));
}

void set_pasid_entry(AcceleratorMachine& machine, std::uint32_t pasid, const abi::PasidEntry& entry) {
    const Gpa at = address_of(pasid_table) + pasid * sizeof(entry);
    machine.store(at + offsetof(abi::PasidEntry, zero), entry.zero);
    machine.store(at, entry.root);
}

AcceleratorProcess::AcceleratorProcess(AcceleratorMachine& machine, std::uint32_t pasid, Gfn tables, Level top)
    : machine_(machine), pasid_(pasid), top_(top), root_(tables), next_(tables + 1) {}

void AcceleratorProcess::enter(std::uint64_t flags) const {
    std::uint64_t root = address_of(root_).value() | flags | static_cast<std::uint64_t>(abi::PasidFlag::present);
    if (top_ == Level::top_5) root |= static_cast<std::uint64_t>(abi::PasidFlag::five_levels);
    set_pasid_entry(machine_, pasid_, {root, 0});
}

void AcceleratorProcess::map(Gva at, Gfn page, std::uint64_t bits) {
    machine_.store(entry(at, Level::page_4k), address_of(page).value() | bits);
}

Gpa AcceleratorProcess::entry(Gva at, Level level) {
    Gfn table = root_;
    for (Level here = top_;; here = below(here)) {
        const std::uint64_t index = (at.value() >> page_shift) / pages_spanned(here) % entries_per_node;
        const Gpa found = address_of(table) + index * sizeof(std::uint64_t);
        if (here == level) return found;
        const std::uint64_t now = machine_.load(found);
        table = now == 0 ? next_ : Gfn{(now & mmu::guest_entry::address) >> page_shift};
        if (now != 0) continue;
        ++next_;
        machine_.store(found, address_of(table).value() | (all_rights & ~mmu::guest_entry::dirty));
    }
}

abi::AccelCommand AcceleratorProcess::command(abi::AccelOpcode opcode, std::uint64_t source, std::uint64_t target,
                                              std::uint64_t bytes) const {
    abi::AccelCommand command{};
    command.opcode = static_cast<std::uint32_t>(opcode);
    command.source = source;
    command.target = target;
    command.bytes = bytes;
    command.flags = static_cast<std::uint32_t>(abi::AccelFlag::virtual_addresses);
    command.pasid = pasid_;
    return command;
}

std::vector<std::byte> page_of(std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::vector<std::byte> bytes(page_bytes);
    for (std::byte& byte : bytes) byte = std::byte(random());
    return bytes;
}

void store_page(AcceleratorMachine& machine, Gfn page, std::uint64_t seed) {
    machine.write(address_of(page), page_of(seed));
}

std::vector<std::byte> load_page(AcceleratorMachine& machine, Gfn page) {
    std::vector<std::byte> bytes(page_bytes);
    machine.read(address_of(page), bytes);
    return bytes;
}

std::uint32_t sum_of(std::span<const std::byte> bytes) {
    return vmm::crc32c_finish(vmm::crc32c_extend(vmm::crc32c_start, bytes));
}

}  // namespace penumbra::test
