#include "vmm/devices/accelerator/accelerator.hpp"

#include <utility>

namespace penumbra::vmm {

namespace {

constexpr std::uint64_t last_register = static_cast<std::uint64_t>(abi::AccelRegister::request_response);

bool is_register(std::uint64_t offset, unsigned bytes) {
    return bytes == sizeof(std::uint64_t) && offset % sizeof(std::uint64_t) == 0 && offset <= last_register;
}

}  // namespace

Accelerator::Accelerator(mmu::DeviceTable& table, mmu::WindowSource& source, mmu::ShadowTable& processes,
                         AcceleratorOptions options)
    : source_(source),
      processes_(processes),
      control_(table.memslots()),
      requests_(table, source, options.page_request_workers, std::move(options.on_error)),
      engine_(table, processes, control_, requests_),
      thread_("accel-engine", ThreadRole::device, [this] { engine_.run(); }) {}

std::uint64_t Accelerator::read(std::uint64_t offset, unsigned bytes) {
    if (is_register(offset, bytes)) return control_.read(static_cast<abi::AccelRegister>(offset));
    refused_.add();
    return all_ones;
}

void Accelerator::write(std::uint64_t offset, unsigned bytes, std::uint64_t value) {
    const bool taken = is_register(offset, bytes) &&
                       control_.write(static_cast<abi::AccelRegister>(offset), value) == RingControl::Written::yes;
    if (!taken) refused_.add();
}

void Accelerator::resume() {
    requests_.resume();
    control_.resume();
}

void Accelerator::reset() {
    control_.begin_reset();
    requests_.interrupt();
    control_.wait_until_idle();
    engine_.close_processes();
    requests_.discard();
    control_.finish_reset();
}

void Accelerator::stop() {
    control_.stop();
    requests_.stop();
    thread_.join();
    engine_.close_processes();
}

Accelerator::Stats Accelerator::stats() const {
    const mmu::ShadowStats& processes = processes_.stats();
    return {.commands = engine_.commands(),
            .bytes = engine_.bytes(),
            .page_requests = requests_.posted(),
            .page_requests_out = source_.brought_in(),
            .page_retries = requests_.retries(),
            .refused = refused_.get(),
            .process_commands = engine_.process_commands(),
            .process_faults = processes.faults.get(),
            .guest_faults = processes.guest_faults.get(),
            .guest_requests = engine_.guest_requests(),
            .waits = processes.waits.get(),
            .cooperative = processes.cooperative.get(),
            .broken_watches = processes.broken.get(),
            .broken_in_use = processes.broken_in_use.get()};
}

}  // namespace penumbra::vmm
