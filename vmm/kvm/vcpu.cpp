#include "vmm/kvm/vcpu.hpp"

#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "base/assert.hpp"
#include "base/thread.hpp"
#include "vmm/kvm/exit_decoder.hpp"
#include "vmm/kvm/kick.hpp"

namespace penumbra::vmm {

Result<std::unique_ptr<Vcpu>> Vcpu::create(UniqueFd fd, std::size_t run_area_bytes,
                                           std::optional<PowerOnState> power_on) {
    PENUMBRA_TRY_ASSIGN(MappedRegion area,
                        MappedRegion::shared_file(fd.get(), run_area_bytes, 0, MapAccess::read_write));
    return std::unique_ptr<Vcpu>(new Vcpu(std::move(fd), std::move(area), std::move(power_on)));
}

kvm_run& Vcpu::area() const { return *reinterpret_cast<kvm_run*>(run_area_.data()); }

std::atomic_ref<std::uint8_t> Vcpu::immediate_exit() const { return std::atomic_ref(area().immediate_exit); }

Result<Vcpu::Attachment> Vcpu::attach() {
    PENUMBRA_TRY(kick::prepare_this_thread(fd_.get()));
    pid_t nobody = 0;
    const bool ours = attached_tid_.compare_exchange_strong(nobody, current_tid(), std::memory_order_acq_rel);
    PENUMBRA_ASSERT(ours, "a vCPU runs on one thread at a time");
    return Attachment(*this);
}

Vcpu::Attachment::~Attachment() {
    if (vcpu_ == nullptr) return;
    vcpu_->attached_tid_.store(0, std::memory_order_release);
    kick::swallow_pending();
}

Result<Exit> Vcpu::Attachment::run() {
    int result = 0;
    int error_number = 0;
    ThreadRegister::Entry* self = ThreadRegister::self();
    if (self != nullptr) self->in_guest.store(true, std::memory_order_release);
    result = ::ioctl(vcpu_->fd_.get(), KVM_RUN, 0);
    error_number = errno;
    // A kick may end the run while the message of the guest's own fault is still unread: the thread counts as in the
    // guest until it has something to do outside.
    if (self != nullptr && !(result != 0 && error_number == EINTR)) {
        self->in_guest.store(false, std::memory_order_release);
    }
    if (result == 0) return decode_exit(vcpu_->area());
    // EAGAIN: a vCPU that waited for INIT and SIPI got one of them; it is to be run again.
    if (error_number == EINTR || error_number == EAGAIN) return InterruptedExit{};
    if (error_number == EFAULT) return decode_memory_fault(vcpu_->area());
    errno = error_number;
    return fail_errno("run a vCPU");
}

Result<Exit> Vcpu::Attachment::finish_access() {
    // KVM looks at the flag after it has finished what was pending (api.rst, 5, immediate_exit).
    vcpu_->immediate_exit().store(1, std::memory_order_release);
    return run();
}

void Vcpu::request_exit() {
    // The flag catches a thread on its way into KVM_RUN, the signal one that is inside. Whoever raised the flag sends
    // the signal, so signals do not pile up.
    if (immediate_exit().exchange(1, std::memory_order_acq_rel) != 0) return;
    if (const pid_t tid = attached_tid_.load(std::memory_order_acquire); tid != 0) kick::send(tid);
}

void Vcpu::clear_exit_request() {
    // In this order: a request that comes in between loses its signal but keeps its flag.
    immediate_exit().store(0, std::memory_order_release);
    kick::swallow_pending();
}

}  // namespace penumbra::vmm
