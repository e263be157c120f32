// Machines for Linux: a PC without a past. KVM plays its interrupt hardware; the rest is described to the guest by
// ACPI tables.
#include <fmt/format.h>

#include <chrono>
#include <optional>
#include <utility>

#include "base/assert.hpp"
#include "vmm/boot/acpi/acpi_tables.hpp"
#include "vmm/boot/guest_writer.hpp"
#include "vmm/boot/linux_image.hpp"
#include "vmm/boot/platform_map.hpp"
#include "vmm/devices/line_console.hpp"
#include "vmm/devices/serial.hpp"
#include "vmm/kvm/assist/assist.hpp"
#include "vmm/kvm/kernel_chips.hpp"
#include "vmm/machine_devices.hpp"
#include "vmm/machine_platform.hpp"

namespace penumbra::vmm {

namespace {

static_assert(Serial::first_port == platform::com1_port && Serial::ports == platform::com1_ports);
static_assert(KernelChips::lines == platform::ioapic_pins);

std::string hexadecimal(std::span<const std::byte> bytes) {
    std::string text;
    for (const std::byte byte : bytes) text += fmt::format("{:02x} ", std::to_integer<unsigned>(byte));
    if (!text.empty()) text.pop_back();
    return text;
}

class LinuxPlatform final : public Platform {
public:
    explicit LinuxPlatform(const PlatformParts& parts)
        : parts_(parts), assist_(parts.memory), lines_(parts.print), keyboard_(parts.power) {}
    ~LinuxPlatform() override { stop(); }

    [[nodiscard]] Result<> read_files() override {
        const LinuxOptions& os = parts_.options.guest_os;
        PENUMBRA_TRY_ASSIGN(LinuxImage image, LinuxImage::read({os.kernel, os.initrd, os.append, ElfEntry::automatic},
                                                               parts_.memory.layout()));
        image_.emplace(std::move(image));
        return {};
    }

    [[nodiscard]] VmForm vm_form() const override { return VmForm::platform; }

    [[nodiscard]] Result<> join(Vm& vm, SlotNumber /*free*/) override {
        PENUMBRA_TRY_ASSIGN(chips_, KernelChips::create(vm));
        return {};
    }

    [[nodiscard]] Result<> add_devices(Bus& bus) override {
        ConsolePeer& console = parts_.console != nullptr ? *parts_.console : lines_;
        serial_.emplace(console, chips_.get(), Gsi{platform::com1_gsi});
        power_.emplace(parts_.power, *chips_, [] { return std::chrono::steady_clock::now().time_since_epoch(); });
        bus.add_ports(platform::com1_port, platform::com1_ports, *serial_);
        bus.add_ports(platform::pm1a_event_port, PowerManagement::ports, *power_);
        bus.add_ports(platform::keyboard_reset_port, 1, keyboard_);
        PENUMBRA_TRY_ASSIGN(devices_, MachineDevices::create({parts_.options, parts_.memory, *chips_, *chips_,
                                                              parts_.power, console, parts_.print}));
        devices_->add_to(bus);
        return {};
    }

    // The vCPUs come before memory is dropped: until their registers are back KVM may write to guest memory for them.
    [[nodiscard]] Result<> reset(Vcpus vcpus) override {
        devices_->reset();
        serial_->reset();
        power_->reset();
        PENUMBRA_TRY(chips_->reset());
        for (Vcpu* vcpu : vcpus) PENUMBRA_TRY(vcpu->power_on());
        return {};
    }

    [[nodiscard]] Result<> load(Vcpus vcpus) override {
        const WriteGuest write = [this](Gpa to, std::span<const std::byte> bytes) {
            return parts_.memory.write(to, bytes);
        };
        const AcpiTables acpi = build_acpi({parts_.options.cpus, devices_->virtio_mmio_devices(), PciHost::present});
        PENUMBRA_TRY(write_by_pages(acpi.base, acpi.bytes, write));
        PENUMBRA_TRY_ASSIGN(const BootEntry entry,
                            image_->write(parts_.memory.layout(), acpi.rsdp, write, RamContents::zeroes));
        // The others wait for this one's INIT and SIPI.
        Vcpu& first = *vcpus.front();
        if (const auto* protected_mode = std::get_if<ProtectedModeEntry>(&entry)) {
            return first.set_protected_mode(*protected_mode);
        }
        return first.set_long_mode(std::get<LongModeEntry>(entry));
    }

    void pause() override { devices_->pause(); }
    void resume() override { devices_->resume(); }
    void stop() override {
        if (devices_) devices_->stop();
    }

    [[nodiscard]] Result<> halted(std::uint32_t cpu) override {
        return fail("run on", fmt::format("vCPU {}: KVM did not keep a halted vCPU", cpu));
    }
    [[nodiscard]] Result<> shut_down(std::uint32_t /*cpu*/) override {
        parts_.power.guest_wants_reset();  // what a PC's chipset makes of a triple fault
        return {};
    }
    [[nodiscard]] Result<> gave_up(std::uint32_t cpu, Vcpu& vcpu, const InternalErrorExit& exit) override {
        if (exit.suberror == InternalErrorExit::emulation) {
            PENUMBRA_TRY_ASSIGN(const AssistOutcome assisted, assist_.finish(vcpu, exit));
            if (assisted == AssistOutcome::finished) return {};
        }
        PENUMBRA_TRY_ASSIGN(const Registers registers, vcpu.registers());
        const auto bytes = std::span(exit.instruction).first(exit.instruction_bytes);
        if (exit.suberror != InternalErrorExit::emulation) {
            return fail("run on",
                        fmt::format("vCPU {} at {:#x}: KVM internal error {}", cpu, registers.rip, exit.suberror));
        }
        return fail("run on",
                    fmt::format("vCPU {} at {:#x}: KVM cannot interpret the instruction {}", cpu, registers.rip,
                                hexadecimal(bytes)),
                    "use a host whose KVM has hardware virtualization (VT-x or SVM)");
    }
    void play(std::uint32_t, Bus&, const std::function<bool()>&) override {
        assertion_failed("freestanding", __FILE__, __LINE__, "host threads play freestanding guests only");
    }

    [[nodiscard]] ConsolePort* console_port() override {
        ConsolePort* virtio = devices_->console_port();
        return virtio != nullptr ? virtio : &*serial_;
    }
    Button press_power_button() override {
        power_->press_power_button();
        return Button::pressed;
    }
    [[nodiscard]] std::vector<DeviceFigures> figures() const override {
        std::vector<DeviceFigures> all = devices_->figures();
        all.push_back({"interrupts", {{"lost_messages", chips_->lost_messages()}}});
        all.push_back({"assisted_instructions", assist_.figures()});
        return all;
    }

private:
    const PlatformParts parts_;
    InstructionAssist assist_;
    LineConsole lines_;
    std::optional<LinuxImage> image_;
    std::unique_ptr<KernelChips> chips_;
    std::optional<Serial> serial_;
    std::optional<PowerManagement> power_;
    KeyboardReset keyboard_;
    std::unique_ptr<MachineDevices> devices_;
};

}  // namespace

std::unique_ptr<Platform> make_linux_platform(const PlatformParts& parts) {
    return std::make_unique<LinuxPlatform>(parts);
}

}  // namespace penumbra::vmm
