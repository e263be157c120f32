#include "vmm/kvm/kernel_chips.hpp"

#include <linux/kvm.h>

#include <algorithm>
#include <string>
#include <utility>

#include "base/assert.hpp"
#include "vmm/kvm/ioctl.hpp"

namespace penumbra::vmm {

namespace {

Result<> change_doorbell(int vm_fd, Gpa at, unsigned bytes, int eventfd, std::uint32_t flags) {
    kvm_ioeventfd request{};
    request.addr = at.value();
    request.len = bytes;
    request.fd = eventfd;
    request.flags = flags;
    if (ioctl_retry(vm_fd, KVM_IOEVENTFD, &request) < 0) return fail_errno("bind a doorbell of the guest");
    return {};
}

}  // namespace

struct KernelChips::PowerOn {
    std::array<kvm_irqchip, 3> chips{};  // both PICs and the IOAPIC
    kvm_pit_state2 timer{};
};

KernelChips::KernelChips(int vm_fd, std::unique_ptr<PowerOn> power_on)
    : vm_fd_(vm_fd), power_on_(std::move(power_on)) {}
KernelChips::~KernelChips() = default;

Result<std::unique_ptr<KernelChips>> KernelChips::create(const Vm& vm) {
    PENUMBRA_ASSERT(vm.form() == VmForm::platform, "a bare VM has no chips");
    auto power_on = std::make_unique<PowerOn>();
    for (std::uint32_t i = 0; i < power_on->chips.size(); ++i) {
        power_on->chips[i].chip_id = i;
        if (ioctl_retry(vm.fd(), KVM_GET_IRQCHIP, &power_on->chips[i]) < 0) {
            return fail_errno("read the state of interrupt controller", std::to_string(i));
        }
    }
    if (ioctl_retry(vm.fd(), KVM_GET_PIT2, &power_on->timer) < 0) return fail_errno("read the interval timer's state");
    return std::unique_ptr<KernelChips>(new KernelChips(vm.fd(), std::move(power_on)));
}

void KernelChips::signal(const MsiMessage& message) {
    kvm_msi msi{};
    msi.address_lo = static_cast<std::uint32_t>(message.address);
    msi.address_hi = static_cast<std::uint32_t>(message.address >> 32);
    msi.data = message.data;
    if (ioctl_retry(vm_fd_, KVM_SIGNAL_MSI, &msi) <= 0) lost_messages_.add();
}

void KernelChips::drive(std::uint32_t line, LineLevel level) {
    kvm_irq_level request{};
    request.irq = line;
    request.level = level == LineLevel::high ? 1 : 0;
    const int result = ioctl_retry(vm_fd_, KVM_IRQ_LINE, &request);
    PENUMBRA_ASSERT(result >= 0, "KVM refused to drive a line it has");
}

void KernelChips::set_line(Gsi line, std::uint32_t source, LineLevel level) {
    const auto number = static_cast<std::uint32_t>(line);
    PENUMBRA_ASSERT(number < lines, "the IOAPIC has no such pin");
    const MutexLock lock(mutex_);
    std::vector<std::uint32_t>& holders = holders_[number];
    const bool was_high = !holders.empty();
    std::erase(holders, source);
    if (level == LineLevel::high) holders.push_back(source);
    if (was_high != !holders.empty()) drive(number, level);
}

Result<> KernelChips::bind(Gpa at, unsigned bytes, int eventfd) {
    return change_doorbell(vm_fd_, at, bytes, eventfd, 0);
}

void KernelChips::unbind(Gpa at, unsigned bytes, int eventfd) {
    // Fails only for a doorbell that was never bound.
    (void)change_doorbell(vm_fd_, at, bytes, eventfd, KVM_IOEVENTFD_FLAG_DEASSIGN);
}

Result<> KernelChips::reset() {
    {
        const MutexLock lock(mutex_);
        for (std::uint32_t line = 0; line < lines; ++line) {
            if (!std::exchange(holders_[line], {}).empty()) drive(line, LineLevel::low);
        }
    }
    for (kvm_irqchip& chip : power_on_->chips) {
        if (ioctl_retry(vm_fd_, KVM_SET_IRQCHIP, &chip) < 0) return fail_errno("reset an interrupt controller");
    }
    if (ioctl_retry(vm_fd_, KVM_SET_PIT2, &power_on_->timer) < 0) return fail_errno("reset the interval timer");
    kvm_clock_data clock{};
    if (ioctl_retry(vm_fd_, KVM_SET_CLOCK, &clock) < 0) return fail_errno("reset the guest's clock");
    return {};
}

}  // namespace penumbra::vmm
