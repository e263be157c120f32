#include "vmm/machine.hpp"

#include <thread>
#include <utility>

#include "base/assert.hpp"
#include "vmm/boot/boot_state.hpp"

namespace penumbra::vmm {

FaultReading best_fault_reading(KvmFlavour flavour, GuestRing ring, unsigned cpus) {
    const bool user_mode_is_costly = flavour == KvmFlavour::pvm && ring == GuestRing::ring3;
    return user_mode_is_costly && cpus < std::thread::hardware_concurrency() ? FaultReading::spin
                                                                             : FaultReading::follow;
}

Result<std::unique_ptr<Machine>> Machine::create(const RunOptions& options, Print print) {
    std::unique_ptr<Machine> machine(new Machine(options, std::move(print)));
    PENUMBRA_TRY(machine->build());
    return machine;
}

Result<> Machine::build() {
    const bool on_kvm = options_.backend == Backend::kvm;
    if (on_kvm) {
        PENUMBRA_TRY_ASSIGN(Kvm kvm, Kvm::open());
        kvm_.emplace(std::move(kvm));
    }
    PENUMBRA_TRY_ASSIGN(Payload payload, Payload::open(options_.payload, abi::payload_limit - abi::payload_base));
    payload_.emplace(std::move(payload));

    MemoryOptions memory;
    memory.memory_bytes = options_.memory_bytes;
    memory.budget_bytes = options_.budget_bytes;
    memory.compress = options_.swaps_to(SwapKind::lz4);
    for (const SwapTier& tier : options_.swap) {
        if (tier.kind == SwapKind::file) memory.swap_path = tier.path;
    }
    memory.take_out = options_.take_out;
    memory.fault_workers = options_.fault_workers;
    memory.stale = options_.stale_faults == StaleFaults::fatal ? StalePolicy::fatal : StalePolicy::count;
    memory.accelerator = options_.accelerator;
    memory.reading = best_fault_reading(kvm_flavour(), options_.ring, options_.cpus);
    memory.on_error = [this](const Error& error) { page_failed(error); };
    memory.on_served = [this](pid_t thread) { served(thread); };
    PENUMBRA_TRY_ASSIGN(memory_, MemorySystem::create(std::move(memory)));

    if (!options_.image.empty()) {
        PENUMBRA_TRY_ASSIGN(FlatImage image, FlatImage::read(options_.image, memory_->layout()));
        image_.emplace(std::move(image));
    }
    cpus_ = std::vector<Cpu>(options_.cpus);
    if (on_kvm) PENUMBRA_TRY(build_kvm());
    build_bus();
    return load();
}

Result<> Machine::build_kvm() {
    PENUMBRA_TRY_ASSIGN(Vm vm, Vm::create(*kvm_));
    vm_ = std::make_unique<Vm>(std::move(vm));
    std::uint16_t slot = 0;
    for (const RamPart& part : memory_->layout().parts()) {
        PENUMBRA_TRY(vm_->set_memory_region(SlotNumber{slot++}, part.guest,
                                            memory_->window_pages().first() + part.window_page,
                                            SlotAccess::read_write));
    }
    if (payload_->pages() > 0) {
        const GfnRange range{frame_of(Gpa{abi::payload_base}), payload_->pages()};
        PENUMBRA_TRY(vm_->set_memory_region(SlotNumber{slot}, range, payload_->first(), SlotAccess::read_only));
    }
    PENUMBRA_TRY_ASSIGN(tsc_khz_, vm_->tsc_khz());
    for (std::uint32_t i = 0; i < cpus_.size(); ++i) {
        PENUMBRA_TRY_ASSIGN(cpus_[i].vcpu, vm_->create_vcpu(i));
    }
    return {};
}

void Machine::build_bus() {
    const Gpa first_data = image_ ? image_->end() : Gpa{abi::image_base};
    touches_.emplace(memory_->layout(), first_data, options_.seed,
                     options_.passes == 0 ? ~std::uint64_t{0} : options_.passes * memory_->layout().pages(), tsc_khz_);
    port_ = std::make_unique<GuestPort>(*memory_, *this, &*touches_);
    serial_ = std::make_unique<Serial>([this](std::string_view line) { print_(line); });
    bus_.add_mmio(Gpa{abi::guest_port_base}, GuestPort::bytes, *port_);
    bus_.add_ports(Serial::first_port, Serial::ports, *serial_);
    if (options_.accelerator) {
        AcceleratorOptions accelerator;
        accelerator.on_error = [this](const Error& error) { page_failed(error); };
        accelerator_ =
            std::make_unique<Accelerator>(*memory_->device_table(), memory_->window_source(), std::move(accelerator));
        bus_.add_mmio(Gpa{abi::accelerator_base}, Accelerator::register_bytes, *accelerator_);
    }
    bus_.seal();
}

abi::BootInfo Machine::boot_info() const {
    abi::BootInfo info{};
    info.magic = abi::boot_magic;
    info.low_ram_bytes = memory_->layout().low_bytes();
    info.high_ram_bytes = memory_->layout().high_bytes();
    info.image_end = image_ ? image_->end().value() : abi::image_base;
    info.payload_pages = payload_->pages();
    info.cpus = options_.cpus;
    info.tsc_khz = tsc_khz_;
    info.has_accelerator = options_.accelerator ? 1 : 0;
    info.seed = options_.seed;
    info.ring = static_cast<std::uint64_t>(options_.ring);
    info.passes = options_.passes == 0 ? 1'000'000 : options_.passes;  // --time ends it
    info.rewrites_permille = 60;
    return info;
}

Result<> Machine::load() {
    const WriteGuest write = [this](Gpa to, std::span<const std::byte> bytes) { return memory_->write(to, bytes); };
    PENUMBRA_TRY(write_boot_state(boot_info(), memory_->layout(), write));
    if (image_) PENUMBRA_TRY(image_->write(write));
    return {};
}

Result<> Machine::start() {
    {
        const MutexLock lock(mutex_);
        PENUMBRA_ASSERT(state_ == MachineState::prelaunch, "a machine started twice");
        state_ = MachineState::running;
    }
    wish_.store(Wish::run, std::memory_order_seq_cst);
    for (std::uint32_t i = 0; i < cpus_.size(); ++i) {
        cpus_[i].thread = Thread("vcpu-" + std::to_string(i), ThreadRole::vcpu, [this, i] { run_cpu(i); }, i);
    }
    return {};
}

Machine::~Machine() { take_down(); }

void Machine::take_down() {
    end();
    if (accelerator_) {
        // Its page requests may wait for a page that will not come: end the waiting first.
        if (memory_) memory_->state().stopping.store(true, std::memory_order_seq_cst);
        accelerator_->stop();
    }
    if (memory_) {
        // vCPUs that still sleep in a fault wake once the window is given up, and then find that the machine has ended.
        memory_->stop_paging();
        memory_->abandon_window();
    }
    ask_out_of_guest();
    for (Cpu& cpu : cpus_) cpu.thread.join();
}

}  // namespace penumbra::vmm
