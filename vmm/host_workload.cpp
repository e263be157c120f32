#include "vmm/host_workload.hpp"

#include <span>

#include "base/assert.hpp"
#include "base/thread.hpp"
#include "guest-images/common/churn_core.hpp"

namespace penumbra::vmm {

namespace {

/// Thrown into the workload of a host thread when its machine ends: unlike a vCPU it cannot be taken out from outside.
struct WorkloadStopped {};

/// The machine as churn sees it.
class HostPlatform {
public:
    HostPlatform(const HostWorkload& workload, ThreadRegister::Entry& entry) : workload_(workload), entry_(entry) {}

    std::uint8_t* ram(std::uint64_t gpa) {
        MemorySystem& memory = workload_.memory;
        const auto page = memory.layout().window_page_of(frame_of(Gpa{gpa}));
        PENUMBRA_ASSERT(page.has_value(), "the workload left its memory");
        return reinterpret_cast<std::uint8_t*>(pointer_to(memory.window_pages().first() + *page)) +
               page_offset(Gpa{gpa});
    }
    const std::uint8_t* payload(std::uint64_t page) {
        return reinterpret_cast<const std::uint8_t*>(pointer_to(workload_.payload.first() + page));
    }
    std::uint64_t mmio_read(std::uint64_t gpa) {
        std::uint64_t value = 0;
        outside([&] { workload_.bus.read_mmio(Gpa{gpa}, std::as_writable_bytes(std::span{&value, 1})); });
        return value;
    }
    void mmio_write(std::uint64_t gpa, std::uint64_t value) {
        outside([&] { workload_.bus.write_mmio(Gpa{gpa}, std::as_bytes(std::span{&value, 1})); });
    }
    unsigned cpu() { return workload_.cpu; }
    void relax() {
        if (workload_.stopped()) throw WorkloadStopped{};
        __builtin_ia32_pause();
    }

private:
    /// Device models may not fault on guest memory, whoever's thread they run on.
    template <class Fn>
    void outside(Fn&& fn) {
        if (workload_.stopped()) throw WorkloadStopped{};
        entry_.in_guest.store(false, std::memory_order_release);
        fn();
        entry_.in_guest.store(true, std::memory_order_release);
    }

    const HostWorkload& workload_;
    ThreadRegister::Entry& entry_;
};

}  // namespace

void play_workload(const HostWorkload& workload) {
    ThreadRegister::Entry& entry = *ThreadRegister::self();
    HostPlatform platform(workload, entry);
    guest::ChurnStatus status = guest::ChurnStatus::setup_error;
    {
        const InGuestScope in_guest(entry);
        try {
            status = guest::run_churn(platform, workload.boot);
        } catch (const WorkloadStopped&) {
            return;
        }
    }
    if (workload.cpu != 0) return;
    const auto code = static_cast<std::uint64_t>(status);
    workload.bus.write_mmio(Gpa{abi::guest_port_base} + static_cast<std::uint64_t>(abi::Port::exit),
                            std::as_bytes(std::span{&code, 1}));
}

}  // namespace penumbra::vmm
