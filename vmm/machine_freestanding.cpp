// Machines for freestanding guests: a flat image, or the workload on host threads; no interrupts.
#include <optional>
#include <utility>

#include "base/assert.hpp"
#include "vmm/boot/boot_state.hpp"
#include "vmm/boot/flat_image.hpp"
#include "vmm/devices/line_console.hpp"
#include "vmm/devices/serial.hpp"
#include "vmm/host_workload.hpp"
#include "vmm/machine_platform.hpp"
#include "vmm/payload.hpp"

namespace penumbra::vmm {

namespace {

std::string name_of_cpu(std::uint32_t cpu) { return "vCPU " + std::to_string(cpu); }

class FreestandingPlatform final : public Platform {
public:
    explicit FreestandingPlatform(const PlatformParts& parts)
        : options_(parts.options), memory_(parts.memory), console_(parts.print), serial_(console_) {}

    [[nodiscard]] Result<> read_files() override {
        PENUMBRA_TRY_ASSIGN(Payload payload, Payload::open(options_.payload, abi::payload_limit - abi::payload_base));
        payload_.emplace(std::move(payload));
        if (options_.image.empty()) return {};
        PENUMBRA_TRY_ASSIGN(FlatImage image, FlatImage::read(options_.image, memory_.layout()));
        image_.emplace(std::move(image));
        return {};
    }

    [[nodiscard]] VmForm vm_form() const override { return VmForm::bare; }

    [[nodiscard]] Result<> join(Vm& vm, SlotNumber free) override {
        PENUMBRA_TRY_ASSIGN(tsc_khz_, vm.tsc_khz());
        if (payload_->pages() == 0) return {};
        const GfnRange range{frame_of(Gpa{abi::payload_base}), payload_->pages()};
        return vm.set_memory_region(free, range, payload_->first(), SlotAccess::read_only);
    }

    [[nodiscard]] Result<> add_devices(Bus& bus) override {
        const std::uint64_t most =
            options_.passes == 0 ? ~std::uint64_t{0} : options_.passes * memory_.layout().pages();
        touches_.emplace(memory_.layout(), first_data(), options_.seed, most, tsc_khz_);
        bus.add_ports(Serial::first_port, Serial::ports, serial_);
        return {};
    }

    [[nodiscard]] Result<> reset(Vcpus /*vcpus*/) override { return {}; }

    [[nodiscard]] Result<> load(Vcpus vcpus) override {
        const WriteGuest write = [this](Gpa to, std::span<const std::byte> bytes) { return memory_.write(to, bytes); };
        PENUMBRA_TRY(write_boot_state(boot_info(), memory_.layout(), write));
        if (image_) PENUMBRA_TRY(image_->write(write));
        for (std::uint32_t i = 0; i < vcpus.size(); ++i) PENUMBRA_TRY(vcpus[i]->set_long_mode(boot_entry(i)));
        return {};
    }

    [[nodiscard]] Result<> halted(std::uint32_t cpu) override {
        return fail("run on", name_of_cpu(cpu) + " halted with no interrupt to wake it");
    }
    [[nodiscard]] Result<> shut_down(std::uint32_t cpu) override {
        return fail("run on", name_of_cpu(cpu) + " shut down (triple fault)");
    }
    [[nodiscard]] Result<> gave_up(std::uint32_t cpu, Vcpu& /*vcpu*/, const InternalErrorExit& exit) override {
        return fail("run on", name_of_cpu(cpu) + ": KVM internal error " + std::to_string(exit.suberror));
    }

    void play(std::uint32_t cpu, Bus& bus, const std::function<bool()>& stopped) override {
        play_workload({memory_, bus, *payload_, boot_info(), cpu, stopped});
    }

    [[nodiscard]] RandomTouches* touches() override { return touches_ ? &*touches_ : nullptr; }

private:
    [[nodiscard]] Gpa first_data() const { return image_ ? image_->end() : Gpa{abi::image_base}; }

    [[nodiscard]] abi::BootInfo boot_info() const {
        abi::BootInfo info{};
        info.magic = abi::boot_magic;
        info.low_ram_bytes = memory_.layout().low_bytes();
        info.high_ram_bytes = memory_.layout().high_bytes();
        info.image_end = first_data().value();
        info.payload_pages = payload_->pages();
        info.cpus = options_.cpus;
        info.tsc_khz = tsc_khz_;
        info.has_accelerator = options_.accelerator ? 1 : 0;
        info.seed = options_.seed;
        info.ring = static_cast<std::uint64_t>(options_.ring);
        info.passes = options_.passes == 0 ? 1'000'000 : options_.passes;  // --time ends it
        info.rewrites_permille = 60;
        info.svm_mode = static_cast<std::uint64_t>(options_.svm_mode);
        info.svm_changes = options_.svm_changes;
        return info;
    }

    const RunOptions& options_;
    MemorySystem& memory_;
    std::uint64_t tsc_khz_ = 1;
    std::optional<Payload> payload_;
    std::optional<FlatImage> image_;
    std::optional<RandomTouches> touches_;
    LineConsole console_;
    Serial serial_;
};

}  // namespace

std::unique_ptr<Platform> make_freestanding_platform(const PlatformParts& parts) {
    return std::make_unique<FreestandingPlatform>(parts);
}

}  // namespace penumbra::vmm
