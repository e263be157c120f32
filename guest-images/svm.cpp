// Changes processes' page tables under the accelerator's work in them, and verifies all that it did.
#include "guest-images/common/runtime.hpp"
#include "guest-images/common/svm_core.hpp"

namespace penumbra::guest {
namespace {

/// The guest's own machine: memory is identity-mapped and registers are addresses.
class GuestPlatform {
public:
    explicit GuestPlatform(std::uint64_t cpu) : cpu_(static_cast<unsigned>(cpu)) {}

    std::uint8_t* ram(std::uint64_t gpa) { return reinterpret_cast<std::uint8_t*>(gpa); }
    std::uint64_t mmio_read(std::uint64_t gpa) { return guest::mmio_read(gpa); }
    void mmio_write(std::uint64_t gpa, std::uint64_t value) { guest::mmio_write(gpa, value); }
    void store_entry(std::uint64_t gpa, std::uint64_t value) {
        asm volatile("movq %0, (%1)\n\tmfence" : : "r"(value), "r"(gpa) : "memory");
    }
    [[nodiscard]] unsigned cpu() const { return cpu_; }
    void relax() { cpu_relax(); }

private:
    unsigned cpu_;
};

}  // namespace
}  // namespace penumbra::guest

extern "C" void image_main(const penumbra::abi::BootInfo* boot, std::uint64_t cpu) {
    using namespace penumbra;
    guest::GuestPlatform platform(cpu);
    const guest::SvmStatus status = guest::run_svm(platform, *boot);
    if (cpu == 0) guest::port_write(abi::Port::exit, static_cast<std::uint64_t>(status));
}
