#include "bench/common/paging_guest.hpp"

#include <fmt/core.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "vmm/boot/boot_state.hpp"
#include "vmm/boot/flat_image.hpp"
#include "vmm/devices/bus.hpp"
#include "vmm/kvm/kvm.hpp"
#include "vmm/kvm/vcpu.hpp"
#include "vmm/kvm/vm.hpp"

namespace penumbra::bench {

namespace {

class Ending final : public vmm::GuestPortListener {
public:
    void guest_printed(std::string_view line) override { fmt::print(stderr, "guest: {}\n", line); }
    void guest_exited(std::uint64_t) override { exited_ = true; }
    void guest_trapped(std::uint32_t, std::uint64_t vector) override { trapped_ = vector; }
    [[nodiscard]] bool has_come() const { return exited_ || trapped_; }
    [[nodiscard]] Result<> outcome() const {
        if (trapped_) return fail("run the guest", "exception " + std::to_string(*trapped_));
        return {};
    }

private:
    bool exited_ = false;
    std::optional<std::uint64_t> trapped_;
};

Result<> load(PagingMemory& memory, const vmm::Vm& vm) {
    PENUMBRA_TRY_ASSIGN(const vmm::FlatImage image,
                        vmm::FlatImage::read(std::string{PENUMBRA_GUEST_IMAGES} + "/touch_list", memory.layout()));
    if (image.end() > paging_first) return fail("fit below the pages that are touched", "the guest image");
    abi::BootInfo info{};
    info.image_end = image.end().value();
    info.cpus = 1;
    info.ring = static_cast<std::uint64_t>(abi::Ring::user);
    PENUMBRA_TRY_ASSIGN(info.tsc_khz, vm.tsc_khz());
    const vmm::WriteGuest write = [&memory](Gpa to, std::span<const std::byte> bytes) {
        return memory.guest_memory().write(to, bytes);
    };
    PENUMBRA_TRY(vmm::write_boot_state(info, memory.layout(), write));
    return image.write(write);
}

Result<> run(vmm::Vcpu& vcpu, vmm::Bus& bus, const Ending& ending) {
    PENUMBRA_TRY(vcpu.set_long_mode(vmm::boot_entry(0)));
    PENUMBRA_TRY_ASSIGN(vmm::Vcpu::Attachment attachment, vcpu.attach());
    while (!ending.has_come()) {
        vcpu.clear_exit_request();
        PENUMBRA_TRY_ASSIGN(const vmm::Exit exit, attachment.run());
        if (std::holds_alternative<vmm::InterruptedExit>(exit)) continue;
        const auto* access = std::get_if<vmm::MmioExit>(&exit);
        if (access == nullptr) return fail("run the guest", "exit kind " + std::to_string(exit.index()));
        if (access->access == vmm::Access::read) {
            bus.read_mmio(access->gpa, access->data);
        } else {
            bus.write_mmio(access->gpa, access->data);
        }
    }
    return ending.outcome();
}

}  // namespace

Result<> run_paging_guest(PagingMemory& memory, HvpRange list, vmm::TouchSource& lists) {
    PENUMBRA_TRY_ASSIGN(const vmm::Kvm kvm, vmm::Kvm::open());
    PENUMBRA_TRY_ASSIGN(vmm::Vm vm, vmm::Vm::create(kvm));
    std::uint16_t slot = 0;
    for (const vmm::RamPart& part : memory.layout().parts()) {
        PENUMBRA_TRY(vm.set_memory_region(vmm::SlotNumber{slot++}, part.guest,
                                          memory.window().first() + part.window_page, vmm::SlotAccess::read_write));
    }
    PENUMBRA_TRY(vm.set_memory_region(vmm::SlotNumber{slot}, GfnRange{frame_of(guest_list), list.pages()}, list.first(),
                                      vmm::SlotAccess::read_write));
    PENUMBRA_TRY_ASSIGN(const std::unique_ptr<vmm::Vcpu> vcpu, vm.create_vcpu(0));
    PENUMBRA_TRY(load(memory, vm));
    Ending ending;
    vmm::GuestPort port(memory.guest_memory(), ending, &lists);
    vmm::Bus bus;
    bus.add_mmio(Gpa{abi::guest_port_base}, vmm::GuestPort::bytes, port);
    bus.seal();
    return run(*vcpu, bus, ending);
}

}  // namespace penumbra::bench
