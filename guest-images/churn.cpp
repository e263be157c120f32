// Rewrites and verifies all of memory with real data, in several orders, while the accelerator sums cold parts of it.
#include "guest-images/common/churn_core.hpp"
#include "guest-images/common/runtime.hpp"

namespace penumbra::guest {
namespace {

/// The guest's own machine: memory is identity-mapped and registers are addresses.
class GuestPlatform {
public:
    explicit GuestPlatform(std::uint64_t cpu) : cpu_(static_cast<unsigned>(cpu)) {}

    std::uint8_t* ram(std::uint64_t gpa) { return reinterpret_cast<std::uint8_t*>(gpa); }
    const std::uint8_t* payload(std::uint64_t page) { return ram(abi::payload_base + page * page_bytes); }
    std::uint64_t mmio_read(std::uint64_t gpa) { return guest::mmio_read(gpa); }
    void mmio_write(std::uint64_t gpa, std::uint64_t value) { guest::mmio_write(gpa, value); }
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
    const guest::ChurnStatus status = guest::run_churn(platform, *boot);
    if (cpu == 0) guest::port_write(abi::Port::exit, static_cast<std::uint64_t>(status));
}
