#include "bench/common/touch_guest.hpp"

#include <fmt/core.h>

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "vmm/boot/boot_state.hpp"
#include "vmm/devices/bus.hpp"

namespace penumbra::bench {

Result<std::unique_ptr<TouchGuest>> TouchGuest::create(vmm::MemorySystem& memory) {
    std::unique_ptr<TouchGuest> guest(new TouchGuest(memory));
    PENUMBRA_TRY(guest->build());
    return guest;
}

Result<> TouchGuest::build() {
    PENUMBRA_TRY_ASSIGN(const vmm::Kvm kvm, vmm::Kvm::open());
    PENUMBRA_TRY_ASSIGN(vmm::Vm vm, vmm::Vm::create(kvm));
    vm_.emplace(std::move(vm));
    for (const vmm::RamPart& part : memory_.layout().parts()) {
        PENUMBRA_TRY(vm_->set_memory_region(vmm::SlotNumber{next_slot_++}, part.guest,
                                            memory_.window_pages().first() + part.window_page,
                                            vmm::SlotAccess::read_write));
    }
    PENUMBRA_TRY_ASSIGN(tsc_khz_, vm_->tsc_khz());
    PENUMBRA_TRY_ASSIGN(vcpu_, vm_->create_vcpu(0));
    PENUMBRA_TRY_ASSIGN(vmm::FlatImage image,
                        vmm::FlatImage::read(std::string{PENUMBRA_GUEST_IMAGES} + "/touch", memory_.layout()));
    image_.emplace(std::move(image));
    return {};
}

Result<> TouchGuest::add_region(Gpa first, HvpRange pages) {
    const GfnRange range{frame_of(first), pages.pages()};
    return vm_->set_memory_region(vmm::SlotNumber{next_slot_++}, range, pages.first(), vmm::SlotAccess::read_write);
}

Result<> TouchGuest::load(abi::Ring ring) {
    abi::BootInfo info{};
    info.image_end = image_->end().value();
    info.cpus = 1;
    info.tsc_khz = tsc_khz_;
    info.ring = static_cast<std::uint64_t>(ring);
    const vmm::WriteGuest write = [this](Gpa to, std::span<const std::byte> bytes) { return memory_.write(to, bytes); };
    const Gpa image_base{abi::image_base};
    const std::vector<std::byte> cleared(first_data() - image_base);
    PENUMBRA_TRY(vmm::write_by_pages(image_base, cleared, write));
    PENUMBRA_TRY(vmm::write_boot_state(info, memory_.layout(), write));
    return image_->write(write);
}

Result<> TouchGuest::run(abi::Ring ring, vmm::TouchSource& touches) {
    PENUMBRA_TRY(load(ring));
    vmm::GuestPort port(memory_, *this, &touches);
    vmm::Bus bus;
    bus.add_mmio(Gpa{abi::guest_port_base}, vmm::GuestPort::bytes, port);
    bus.seal();
    ended_ = false;
    PENUMBRA_TRY(vcpu_->set_long_mode(vmm::boot_entry(0)));
    PENUMBRA_TRY_ASSIGN(vmm::Vcpu::Attachment attachment, vcpu_->attach());
    while (!ended_ && !trapped_) {
        vcpu_->clear_exit_request();
        PENUMBRA_TRY_ASSIGN(const vmm::Exit exit, attachment.run());
        if (std::holds_alternative<vmm::InterruptedExit>(exit)) continue;
        const auto* access = std::get_if<vmm::MmioExit>(&exit);
        if (access == nullptr) return fail("run the touch guest", "exit kind " + std::to_string(exit.index()));
        if (access->access == vmm::Access::read) {
            bus.read_mmio(access->gpa, access->data);
        } else {
            bus.write_mmio(access->gpa, access->data);
        }
    }
    if (trapped_) return fail("run the touch guest", "exception " + std::to_string(*trapped_));
    return {};
}

void TouchGuest::guest_printed(std::string_view line) { fmt::print(stderr, "guest: {}\n", line); }

}  // namespace penumbra::bench
