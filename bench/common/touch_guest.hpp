// A KVM guest over a MemorySystem that touches the pages it is told to (guest image "touch"), with room for further
// memory beside its RAM that is no business of the MemorySystem.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "vmm/boot/flat_image.hpp"
#include "vmm/devices/guest_port.hpp"
#include "vmm/kvm/kvm.hpp"
#include "vmm/kvm/vcpu.hpp"
#include "vmm/kvm/vm.hpp"
#include "vmm/memory/memory_system.hpp"

namespace penumbra::bench {

class TouchGuest final : private vmm::GuestPortListener {
public:
    /// `memory` outlives the guest.
    [[nodiscard]] static Result<std::unique_ptr<TouchGuest>> create(vmm::MemorySystem& memory);

    /// Memory at `first`, which must be free and below 3 GiB; must outlive the guest.
    [[nodiscard]] Result<> add_region(Gpa first, HvpRange pages);
    /// Boots the image afresh and runs it until `touches` has no more. On a thread registered as vCPU 0.
    [[nodiscard]] Result<> run(abi::Ring ring, vmm::TouchSource& touches);

    [[nodiscard]] std::uint64_t tsc_khz() const { return tsc_khz_; }
    /// First page behind the image: pages from there on may be touched.
    [[nodiscard]] Gpa first_data() const { return Gpa{(image_->end().value() + page_bytes - 1) & ~(page_bytes - 1)}; }

private:
    explicit TouchGuest(vmm::MemorySystem& memory) : memory_(memory) {}
    [[nodiscard]] Result<> build();
    [[nodiscard]] Result<> load(abi::Ring ring);

    void guest_printed(std::string_view line) override;
    void guest_exited(std::uint64_t) override { ended_ = true; }
    void guest_trapped(std::uint32_t, std::uint64_t vector) override { trapped_ = vector; }

    vmm::MemorySystem& memory_;
    std::optional<vmm::Vm> vm_;
    std::unique_ptr<vmm::Vcpu> vcpu_;
    std::optional<vmm::FlatImage> image_;
    std::uint64_t tsc_khz_ = 1;
    std::uint16_t next_slot_ = 0;
    bool ended_ = false;
    std::optional<std::uint64_t> trapped_;
};

}  // namespace penumbra::bench
