#include "tests/kvm/platform_machine.hpp"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "tests/support/machine_fixture.hpp"
#include "tests/support/pc_guest.hpp"
#include "vmm/boot/address_layout.hpp"
#include "vmm/boot/boot_state.hpp"
#include "vmm/kvm/kvm.hpp"

namespace penumbra::vmm::test {

namespace {

namespace pc_guest = penumbra::test::pc_guest;

constexpr std::uint64_t ram_bytes = 16ULL << 20;
constexpr std::uint64_t boot_params = abi::boot_stacks_base, stack_top = boot_params + 0x3000;
constexpr std::uint64_t commands_at = 0x5'0000;

}  // namespace

Result<std::unique_ptr<PlatformMachine>> PlatformMachine::create(std::uint32_t cpus) {
    std::unique_ptr<PlatformMachine> machine(new PlatformMachine);
    PENUMBRA_TRY(machine->build(cpus));
    return machine;
}

Result<> PlatformMachine::build(std::uint32_t cpus) {
    PENUMBRA_TRY_ASSIGN(const Kvm kvm, Kvm::open());
    PENUMBRA_TRY_ASSIGN(vm_, Vm::create(kvm, {VmForm::platform, cpus}));
    PENUMBRA_TRY_ASSIGN(ram_, MappedRegion::anonymous(ram_bytes));
    const GfnRange all{Gfn{0}, ram_bytes / page_bytes};
    PENUMBRA_TRY(vm_->set_memory_region(SlotNumber{0}, all, ram_.pages().first(), SlotAccess::read_write));
    PENUMBRA_TRY_ASSIGN(chips_, KernelChips::create(*vm_));
    for (std::uint32_t i = 0; i < cpus; ++i) {
        PENUMBRA_TRY_ASSIGN(auto vcpu, vm_->create_vcpu(i));
        vcpus_.push_back(std::move(vcpu));
    }
    serial_.emplace(*this, chips_.get());
    return {};
}

Result<> PlatformMachine::start(const std::string& commands) {
    stop();
    {
        const MutexLock lock(mutex_);
        said_.clear();
        trouble_.clear();
        told_.clear();
    }
    serial_->reset();
    PENUMBRA_TRY(chips_->reset());
    for (const auto& vcpu : vcpus_) PENUMBRA_TRY(vcpu->power_on());

    std::memset(ram_.data(), 0, ram_bytes);
    const auto put = [this](std::uint64_t at, std::span<const std::byte> bytes) {
        std::memcpy(ram_.data() + at, bytes.data(), bytes.size());
    };
    PENUMBRA_TRY_ASSIGN(const AddressLayout layout, AddressLayout::create(ram_bytes));
    put(abi::boot_tables_base, boot_page_tables(layout));
    put(pc_guest::base, pc_guest::code());
    put(commands_at, std::as_bytes(std::span(commands)));
    const auto pointer = static_cast<std::uint32_t>(commands_at);
    put(boot_params + pc_guest::command_pointer, std::as_bytes(std::span(&pointer, 1)));
    PENUMBRA_TRY(vcpus_.front()->set_long_mode({.instruction = Gva{pc_guest::base},
                                                .stack_top = Gva{stack_top},
                                                .tables = Gpa{abi::boot_tables_base},
                                                .rsi = boot_params}));
    stopping_ = false;
    for (std::uint32_t i = 0; i < vcpus_.size(); ++i) {
        threads_.emplace_back("vcpu-" + std::to_string(i), ThreadRole::vcpu, [this, i] { run(i); }, i);
    }
    return {};
}

void PlatformMachine::stop() {
    stopping_ = true;
    for (const auto& vcpu : vcpus_) vcpu->request_exit();
    threads_.clear();
}

bool PlatformMachine::command(std::string_view letters) {
    return eventually([&] {
        letters.remove_prefix(serial_->receive(std::as_bytes(std::span(letters))));
        return letters.empty();
    });
}

void PlatformMachine::run(std::uint32_t cpu) {
    auto attachment = vcpus_[cpu]->attach();
    while (attachment) {
        vcpus_[cpu]->clear_exit_request();
        if (stopping_) return;
        const Result<Exit> exit = attachment->run();
        if (exit) {
            handle(cpu, *exit);
            continue;
        }
        const MutexLock lock(mutex_);
        trouble_ += exit.error().message() + "\n";
        return;
    }
}

void PlatformMachine::handle(std::uint32_t cpu, const Exit& exit) {
    if (std::holds_alternative<InterruptedExit>(exit)) return;
    if (const auto* port = std::get_if<PortExit>(&exit)) return handle_port(*port);
    const auto* mmio = std::get_if<MmioExit>(&exit);
    if (mmio != nullptr && mmio->access == Access::read) std::ranges::fill(mmio->data, std::byte{0xFF});
    const MutexLock lock(mutex_);
    if (mmio == nullptr) {
        trouble_ += "vCPU " + std::to_string(cpu) + ": exit kind " + std::to_string(exit.index()) + "\n";
        stopping_ = true;
    } else if (mmio->access == Access::write) {
        std::uint64_t value = 0;
        std::memcpy(&value, mmio->data.data(), std::min(mmio->data.size(), sizeof(value)));
        told_.push_back({cpu, mmio->gpa.value(), value});
    }
}

void PlatformMachine::handle_port(const PortExit& exit) {
    const std::uint64_t offset = std::uint64_t{exit.port} - Serial::first_port;
    const bool is_serial = exit.port >= Serial::first_port && offset < Serial::ports && exit.size == 1;
    if (exit.access == Access::read) {
        std::ranges::fill(exit.data, std::byte{0xFF});
        if (is_serial) exit.data.front() = static_cast<std::byte>(serial_->read(offset, 1));
    } else if (is_serial) {
        serial_->write(offset, 1, std::to_integer<std::uint64_t>(exit.data.front()));
    }
}

void PlatformMachine::sent(std::span<const std::byte> bytes) {
    const MutexLock lock(mutex_);
    for (const std::byte byte : bytes) said_.push_back(static_cast<char>(byte));
}

std::string PlatformMachine::said() {
    const MutexLock lock(mutex_);
    return said_;
}

std::vector<Told> PlatformMachine::told() {
    const MutexLock lock(mutex_);
    return told_;
}

std::string PlatformMachine::trouble() {
    const MutexLock lock(mutex_);
    return trouble_;
}

}  // namespace penumbra::vmm::test
