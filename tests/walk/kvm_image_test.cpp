// The guest walk against the machine's own KVM and processor: the image walk_sweep makes the accesses, in ring 3 and in
// ring 0, and the walk's predictions are compared with the exceptions that came. 4 levels only: tcg_image_test.cpp
// does 5.
#include <cpuid.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>

#include "base/mapped_region.hpp"
#include "shadow-mmu/guest_walk/walk_bugs.hpp"
#include "tests/walk/image_cases.hpp"
#include "vmm/boot/boot_state.hpp"
#include "vmm/boot/flat_image.hpp"
#include "vmm/kvm/kvm.hpp"
#include "vmm/kvm/vcpu.hpp"
#include "vmm/kvm/vm.hpp"

namespace penumbra::test::kvm_image_test {
namespace {

using vmm::Exit;

/// Plain memory, one vCPU, the image.
class ImageMachine {
public:
    [[nodiscard]] static Result<std::unique_ptr<ImageMachine>> create() {
        std::unique_ptr<ImageMachine> machine(new ImageMachine);
        PENUMBRA_TRY(machine->build());
        return machine;
    }

    [[nodiscard]] image::Control& control() { return at<image::Control>(image::control_block); }
    [[nodiscard]] image::Case* cases() { return &at<image::Case>(image::cases_base); }
    [[nodiscard]] std::span<const image::CaseResult> results() {
        return {&at<image::CaseResult>(image::results_base), control().done};
    }

    /// Starts the image afresh and runs it to its end.
    [[nodiscard]] Result<> run() {
        PENUMBRA_TRY(load());
        PENUMBRA_TRY_ASSIGN(vmm::Vcpu::Attachment attachment, vcpu_->attach());
        std::string said;
        for (;;) {
            PENUMBRA_TRY_ASSIGN(const Exit exit, attachment.run());
            if (std::holds_alternative<vmm::InterruptedExit>(exit)) continue;
            const auto* port = std::get_if<vmm::PortExit>(&exit);
            if (port == nullptr) return fail("run the image", describe(exit), said);
            if (port->port == image::exit_port) {
                if (port->data.front() == std::byte{0}) return {};
                return fail("run the image", said);
            }
            for (const std::byte letter : port->data) said.push_back(static_cast<char>(letter));
        }
    }

private:
    ImageMachine() = default;

    template <class T>
    [[nodiscard]] T& at(std::uint64_t gpa) {
        return *reinterpret_cast<T*>(ram_.data() + gpa);
    }

    [[nodiscard]] Result<> build() {
        PENUMBRA_TRY_ASSIGN(const vmm::Kvm kvm, vmm::Kvm::open());
        PENUMBRA_TRY_ASSIGN(vm_, vmm::Vm::create(kvm));
        PENUMBRA_TRY_ASSIGN(ram_, MappedRegion::anonymous(image::ram_bytes));
        PENUMBRA_TRY_ASSIGN(layout_, vmm::AddressLayout::create(image::ram_bytes));
        PENUMBRA_TRY(vm_->set_memory_region(vmm::SlotNumber{0}, layout_->parts().front().guest, ram_.pages().first(),
                                            vmm::SlotAccess::read_write));
        PENUMBRA_TRY_ASSIGN(vcpu_, vm_->create_vcpu(0));
        return {};
    }
    [[nodiscard]] Result<> load() {
        const vmm::WriteGuest write = [this](Gpa gpa, std::span<const std::byte> bytes) -> Result<> {
            std::memcpy(ram_.data() + gpa.value(), bytes.data(), bytes.size());
            return {};
        };
        std::memset(ram_.data() + abi::image_base, 0, image::root_table - abi::image_base);
        abi::BootInfo info{};
        info.ring = static_cast<std::uint64_t>(abi::Ring::kernel);
        PENUMBRA_TRY(vmm::write_boot_state(info, *layout_, write));
        PENUMBRA_TRY_ASSIGN(const vmm::FlatImage flat,
                            vmm::FlatImage::read(PENUMBRA_GUEST_IMAGES "/walk_sweep", *layout_));
        PENUMBRA_TRY(flat.write(write));
        control().magic = image::control_magic;
        return vcpu_->set_long_mode(vmm::boot_entry(0));
    }
    [[nodiscard]] std::string describe(const Exit& exit) {
        std::string text =
            "exit kind " + std::to_string(exit.index()) + " after case " + std::to_string(control().done);
        if (const auto registers = vcpu_->registers()) text += ", RIP " + std::to_string(registers->rip);
        if (const auto* error = std::get_if<vmm::InternalErrorExit>(&exit)) {
            for (const std::byte byte : error->instruction) text += " " + std::to_string(static_cast<unsigned>(byte));
        }
        return text;
    }

    MappedRegion ram_;
    std::optional<vmm::Vm> vm_;
    std::optional<vmm::AddressLayout> layout_;
    std::unique_ptr<vmm::Vcpu> vcpu_;
};

/// Whether this host's processor is QEMU's: with nested paging it, and not KVM, walks the guest's tables.
bool processor_is_emulated() {
    unsigned eax = 0;
    std::array<unsigned, 3> name{};
    __cpuid(0x4000'0000, eax, name[0], name[1], name[2]);
    return std::string_view(reinterpret_cast<const char*>(name.data()), sizeof(name)) == "TCGTCGTCGTCG";
}
Deviations known_deviations() {
    if (!processor_is_emulated()) return {};
    return {.reserved_without_present = true, .no_key_for_user_on_supervisor_page = true};
}

class KvmWalkImage : public testing::Test {
protected:
    void SetUp() override {
        if (const auto kvm = vmm::Kvm::open(); !kvm) GTEST_SKIP() << kvm.error().message();
        auto made = ImageMachine::create();
        ASSERT_TRUE(made) << made.error().message();
        machine_ = std::move(*made);
    }
    /// What the processor can do.
    [[nodiscard]] Result<> ask() {
        machine_->control().levels = 4;
        machine_->control().cases = 0;
        return machine_->run();
    }
    /// Runs `count` cases and compares.
    void run(std::uint64_t count) {
        features_ = machine_->control();
        cases_ = image_cases(features_, count, 1);
        for (std::size_t i = 0; i < cases_.size(); ++i) machine_->cases()[i] = encode(cases_[i]);
        machine_->control().cases = cases_.size();
        const auto start = std::chrono::steady_clock::now();
        const Result<> ran = machine_->run();
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        EXPECT_TRUE(ran) << ran.error().message();
        const ImageVerdict verdict = judge(cases_, machine_->results(), known_deviations());
        const std::string name =
            std::string(processor_is_emulated() ? "QEMU TCG below KVM, " : "KVM of this machine, ") + features_.vendor;
        std::printf("             %s; %.1f s\n", summary(verdict, features_, name).c_str(), seconds);
        EXPECT_EQ(verdict.cases, cases_.size());
        EXPECT_EQ(verdict.differences, 0U);
        for (const std::string& words : verdict.first) ADD_FAILURE() << words;
    }

    std::unique_ptr<ImageMachine> machine_;
    image::Control features_{};
    std::vector<SweepCase> cases_;
};

TEST_F(KvmWalkImage, ProcessorAgreesWithTheWalk) {
    const Result<> asked = ask();
    ASSERT_TRUE(asked) << asked.error().message();
    run(image_case_count());
}

#if defined(PENUMBRA_TEST_SWITCHES)
// The verdict is worth something: had the walk been wrong, the processor would have shown it.
TEST_F(KvmWalkImage, ProcessorExposesWrongWalks) {
    const Result<> asked = ask();
    ASSERT_TRUE(asked) << asked.error().message();
    ASSERT_NO_FATAL_FAILURE(run(4000));
    using mmu::WalkBug;
    for (const WalkBug bug :
         {WalkBug::write_protect_ignored, WalkBug::write_protect_assumed, WalkBug::write_at_leaf_only,
          WalkBug::user_at_leaf_only, WalkBug::execute_at_leaf_only, WalkBug::fetch_flag_always,
          WalkBug::width_off_by_one, WalkBug::no_execute_unreserved, WalkBug::large_2m_low_bits, WalkBug::top_page_size,
          WalkBug::reserved_when_absent, WalkBug::mark_before_check, WalkBug::leaf_marked_only, WalkBug::dirty_on_read,
          WalkBug::never_dirty}) {
        const mmu::PlantedWalkBug planted(bug);
        EXPECT_GT(judge(cases_, machine_->results(), known_deviations()).differences, 0U)
            << "bug " << static_cast<unsigned>(bug);
    }
}
#endif

}  // namespace
}  // namespace penumbra::test::kvm_image_test
