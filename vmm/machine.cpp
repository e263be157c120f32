#include "vmm/machine.hpp"

#include <thread>
#include <utility>

#include "base/assert.hpp"

namespace penumbra::vmm {

FaultReading best_fault_reading(KvmFlavour flavour, GuestRing ring, unsigned cpus) {
    const bool user_mode_is_costly = flavour == KvmFlavour::pvm && ring == GuestRing::ring3;
    return user_mode_is_costly && cpus < std::thread::hardware_concurrency() ? FaultReading::spin
                                                                             : FaultReading::follow;
}

Result<std::unique_ptr<Machine>> Machine::create(const RunOptions& options, Print print, ConsolePeer* console) {
    std::unique_ptr<Machine> machine(new Machine(options, std::move(print)));
    PENUMBRA_TRY(machine->build(console));
    return machine;
}

Result<> Machine::build(ConsolePeer* console) {
    if (options_.backend == Backend::kvm) {
        PENUMBRA_TRY_ASSIGN(Kvm kvm, Kvm::open());
        kvm_.emplace(std::move(kvm));
    }
    PENUMBRA_TRY(build_memory());
    const PlatformParts parts{options_, *memory_, *this, print_, console};
    platform_ = options_.runs_linux() ? make_linux_platform(parts) : make_freestanding_platform(parts);
    PENUMBRA_TRY(platform_->read_files());
    cpus_ = std::vector<Cpu>(options_.cpus);
    if (kvm_) PENUMBRA_TRY(build_kvm());
    PENUMBRA_TRY(build_bus());
    const std::vector<Vcpu*> all = vcpus();
    PENUMBRA_TRY(platform_->reset(all));
    return platform_->load(all);
}

Result<> Machine::build_memory() {
    MemoryOptions memory;
    memory.memory_bytes = options_.memory_bytes;
    memory.budget_bytes = options_.budget_bytes;
    memory.compress = options_.compresses();
    if (options_.swaps_to(SwapKind::zstd)) memory.codec = Codec::zstd;
    for (const SwapTier& tier : options_.swap) {
        if (tier.kind == SwapKind::file) memory.swap_path = tier.path;
        if (tier.kind == SwapKind::remote) memory.store_url = tier.path;
    }
    memory.take_out = options_.take_out;
    memory.fault_workers = options_.fault_workers;
    memory.stale = options_.stale_faults == StaleFaults::fatal ? StalePolicy::fatal : StalePolicy::count;
    memory.accelerator = options_.accelerator;
    memory.dma = options_.runs_linux();
    memory.reading = best_fault_reading(kvm_flavour(), options_.ring, options_.cpus);
    memory.on_error = [this](const Error& error) { page_failed(error); };
    memory.on_served = [this](pid_t thread) { served(thread); };
    PENUMBRA_TRY_ASSIGN(memory_, MemorySystem::create(std::move(memory)));
    return {};
}

Result<> Machine::build_kvm() {
    PENUMBRA_TRY_ASSIGN(Vm vm, Vm::create(*kvm_, {platform_->vm_form(), options_.cpus}));
    vm_ = std::make_unique<Vm>(std::move(vm));
    std::uint16_t slot = 0;
    for (const RamPart& part : memory_->layout().parts()) {
        PENUMBRA_TRY(vm_->set_memory_region(SlotNumber{slot++}, part.guest,
                                            memory_->window_pages().first() + part.window_page,
                                            SlotAccess::read_write));
    }
    PENUMBRA_TRY(platform_->join(*vm_, SlotNumber{slot}));
    for (std::uint32_t i = 0; i < cpus_.size(); ++i) {
        PENUMBRA_TRY_ASSIGN(cpus_[i].vcpu, vm_->create_vcpu(i));
    }
    return {};
}

Result<> Machine::build_bus() {
    PENUMBRA_TRY(platform_->add_devices(bus_));
    port_ = std::make_unique<GuestPort>(*memory_, *this, platform_->touches());
    bus_.add_mmio(Gpa{abi::guest_port_base}, GuestPort::bytes, *port_);
    if (options_.accelerator) {
        AcceleratorOptions accelerator;
        accelerator.on_error = [this](const Error& error) { page_failed(error); };
        accelerator_ = std::make_unique<Accelerator>(*memory_->device_table(), memory_->window_source(),
                                                     *memory_->shadow_table(), std::move(accelerator));
        bus_.add_mmio(Gpa{abi::accelerator_base}, Accelerator::register_bytes, *accelerator_);
    }
    bus_.seal();
    return {};
}

std::vector<Vcpu*> Machine::vcpus() const {
    std::vector<Vcpu*> all;
    for (const Cpu& cpu : cpus_) {
        if (cpu.vcpu) all.push_back(cpu.vcpu.get());
    }
    return all;
}

Result<> Machine::start_over() {
    const std::vector<Vcpu*> all = vcpus();
    if (accelerator_) accelerator_->reset();
    PENUMBRA_TRY(platform_->reset(all));
    memory_->discard_everything();
    return platform_->load(all);
}

std::vector<DeviceFigures> Machine::device_figures() const { return platform_->figures(); }

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
    // Page requests of the devices may wait for a page that will not come: end the waiting first.
    if (memory_) memory_->state().stopping.store(true, std::memory_order_seq_cst);
    if (accelerator_) accelerator_->stop();
    if (platform_) platform_->stop();
    if (memory_) {
        // vCPUs that still sleep in a fault wake once the window is given up, and then find that the machine has ended.
        memory_->stop_paging();
        memory_->abandon_window();
    }
    ask_out_of_guest();
    for (Cpu& cpu : cpus_) cpu.thread.join();
}

}  // namespace penumbra::vmm
