#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <thread>

#include "base/thread.hpp"
#include "tests/kvm/guest_fragments.hpp"

namespace penumbra::vmm::test {
namespace {

constexpr std::uint64_t port_register(abi::Port port) {
    return abi::guest_port_base + static_cast<std::uint64_t>(port);
}

std::uint64_t value_of(std::span<const std::byte> data) {
    std::uint64_t value = 0;
    std::memcpy(&value, data.data(), std::min(data.size(), sizeof(value)));
    return value;
}

class KvmBoot : public testing::Test {
protected:
    void SetUp() override {
        const auto kvm = Kvm::open();
        if (!kvm) GTEST_SKIP() << kvm.error().message();
        auto machine = FragmentMachine::create();
        ASSERT_TRUE(machine) << machine.error().message();
        machine_ = std::move(*machine);
    }

    /// Starts `start` on vCPU 0 and runs it to its first exit.
    Result<Exit> first_exit(Start start, std::uint32_t cpu = 0) {
        PENUMBRA_TRY(machine_->start(cpu, start));
        PENUMBRA_TRY_ASSIGN(Vcpu::Attachment attachment, machine_->vcpu(cpu).attach());
        return attachment.run();
    }
    void expect_store(const Result<Exit>& exit, std::uint64_t gpa, std::uint64_t value) {
        ASSERT_TRUE(exit) << exit.error().message();
        const auto* mmio = std::get_if<MmioExit>(&*exit);
        ASSERT_NE(mmio, nullptr) << "exit kind " << exit->index();
        EXPECT_EQ(mmio->gpa.value(), gpa);
        EXPECT_EQ(mmio->access, Access::write);
        ASSERT_EQ(mmio->data.size(), 8U);
        EXPECT_EQ(value_of(mmio->data), value);
    }

    std::unique_ptr<FragmentMachine> machine_;
};
class KvmBootRing : public KvmBoot, public testing::WithParamInterface<abi::Ring> {};
INSTANTIATE_TEST_SUITE_P(Rings, KvmBootRing, testing::Values(abi::Ring::kernel, abi::Ring::user),
                         [](const auto& test) { return test.param == abi::Ring::user ? "ring3" : "ring0"; });

TEST_P(KvmBootRing, StoreToTheGuestPortComesOut) {
    const std::uint64_t exit_register = port_register(abi::Port::exit);
    const Start start{
        .fragment = Fragment::store, .ring = GetParam(), .rcx = exit_register, .rdx = 0x1122'3344'5566'7788};
    expect_store(first_exit(start, 0), exit_register, 0x1122'3344'5566'7788);
    expect_store(first_exit(start, 1), exit_register, 0x1122'3344'5566'7788);
}

TEST_P(KvmBootRing, AnsweredLoadReachesTheGuest) {
    const std::uint64_t cpu_number = port_register(abi::Port::cpu_number);
    ASSERT_TRUE(machine_->start(0, {.fragment = Fragment::load, .ring = GetParam(), .rcx = cpu_number}));
    auto attachment = machine_->vcpu(0).attach();
    ASSERT_TRUE(attachment);
    auto exit = attachment->run();
    ASSERT_TRUE(exit) << exit.error().message();
    const auto* mmio = std::get_if<MmioExit>(&*exit);
    ASSERT_NE(mmio, nullptr) << "exit kind " << exit->index();
    EXPECT_EQ(mmio->gpa.value(), cpu_number);
    EXPECT_EQ(mmio->access, Access::read);
    std::ranges::fill(mmio->data, std::byte{0x5A});
    expect_store(attachment->run(), port_register(abi::Port::console), 0x5A5A'5A5A'5A5A'5A5A);
}

TEST_P(KvmBootRing, KickInterruptsALoopingVcpu) {
    ASSERT_TRUE(machine_->start(0, {.fragment = Fragment::spin, .ring = GetParam()}));
    std::atomic<bool> done{false};
    int interrupted = 0;
    Vcpu& vcpu = machine_->vcpu(0);
    Thread thread("vcpu", ThreadRole::vcpu, [&] {
        auto attachment = vcpu.attach();
        for (bool good = attachment.has_value(); good && interrupted < 50; vcpu.clear_exit_request()) {
            const auto exit = attachment->run();
            good = exit && std::holds_alternative<InterruptedExit>(*exit);
            if (good) ++interrupted;
        }
        done = true;
    });
    // A kick may find the thread anywhere: before, inside and after KVM_RUN. Each must be answered or still standing.
    while (!done) {
        vcpu.request_exit();
        std::this_thread::yield();
    }
    thread.join();
    EXPECT_EQ(interrupted, 50);
}

TEST_P(KvmBootRing, KickBeforeRunIsNotLostAndClearForgetsIt) {
    ASSERT_TRUE(machine_->start(0, {.fragment = Fragment::store, .ring = GetParam(), .rcx = abi::guest_port_base}));
    auto attachment = machine_->vcpu(0).attach();
    ASSERT_TRUE(attachment);
    machine_->vcpu(0).request_exit();
    for (int i = 0; i < 3; ++i) {
        const auto exit = attachment->run();
        ASSERT_TRUE(exit);
        EXPECT_TRUE(std::holds_alternative<InterruptedExit>(*exit)) << "exit kind " << exit->index();
    }
    machine_->vcpu(0).clear_exit_request();
    expect_store(attachment->run(), abi::guest_port_base, 0);
}

TEST_F(KvmBoot, RegistersComeBackAsSet) {
    Registers set{};
    set.rax = 1, set.r15 = 15, set.rsp = 0x7000, set.rip = abi::image_base, set.rflags = 0x202;
    ASSERT_TRUE(machine_->vcpu(0).set_registers(set));
    const auto got = machine_->vcpu(0).registers();
    ASSERT_TRUE(got);
    EXPECT_EQ(*got, set);
}

TEST_F(KvmBoot, PortAccessesComeOut) {
    ASSERT_TRUE(machine_->start(0, {.fragment = Fragment::port_out, .rdx = 'x'}));
    auto attachment = machine_->vcpu(0).attach();
    ASSERT_TRUE(attachment);
    auto exit = attachment->run();
    ASSERT_TRUE(exit && std::holds_alternative<PortExit>(*exit));
    const PortExit out = std::get<PortExit>(*exit);
    EXPECT_EQ(out.port, 0x3F8);
    EXPECT_EQ(out.size, 1);
    EXPECT_EQ(out.count, 1U);
    EXPECT_EQ(out.access, Access::write);
    EXPECT_EQ(value_of(out.data), std::uint64_t{'x'});
    exit = attachment->run();
    ASSERT_TRUE(exit && std::holds_alternative<PortExit>(*exit));
    const PortExit in = std::get<PortExit>(*exit);
    EXPECT_EQ(in.port, 0x3FD);
    EXPECT_EQ(in.access, Access::read);
    in.data[0] = std::byte{0x60};
    expect_store(attachment->run(), port_register(abi::Port::exit), 0x60);
}

TEST_F(KvmBoot, StringOutputComesOutWhole) {
    const std::string text = "hello, port";
    std::memcpy(machine_->ram() + 0x20'0000, text.data(), text.size());
    ASSERT_TRUE(machine_->start(0, {.fragment = Fragment::port_string, .rcx = text.size(), .rsi = 0x20'0000}));
    auto attachment = machine_->vcpu(0).attach();
    ASSERT_TRUE(attachment);
    std::string seen;
    while (seen.size() < text.size()) {
        const auto exit = attachment->run();
        ASSERT_TRUE(exit && std::holds_alternative<PortExit>(*exit));
        const PortExit out = std::get<PortExit>(*exit);
        ASSERT_EQ(out.data.size(), out.count);
        for (const std::byte b : out.data) seen.push_back(static_cast<char>(b));
    }
    EXPECT_EQ(seen, text);
}

TEST_F(KvmBoot, HaltAndTripleFaultComeOut) {
    const auto halt = first_exit({.fragment = Fragment::halt}, 0);
    ASSERT_TRUE(halt);
    EXPECT_TRUE(std::holds_alternative<HaltExit>(*halt)) << "exit kind " << halt->index();
    const auto exception_without_tables = first_exit({.fragment = Fragment::undefined}, 1);
    ASSERT_TRUE(exception_without_tables);
    EXPECT_TRUE(std::holds_alternative<ShutdownExit>(*exception_without_tables));
}

TEST_F(KvmBoot, ExceptionsFromRing3ReachTheGuestsHandlers) {
    const std::uint64_t trap = port_register(abi::Port::trap);
    const Start undefined{.fragment = Fragment::undefined, .ring = abi::Ring::user};
    expect_store(first_exit(undefined, 0), trap, 6);
    const Start unmapped{.fragment = Fragment::store, .ring = abi::Ring::user, .rcx = 100ULL << 30};
    expect_store(first_exit(unmapped, 1), trap, 14);
}

TEST_F(KvmBoot, InstructionThatKvmCannotInterpretCarriesItsBytes) {
    // A processor with hardware virtualization runs it; then there is nothing to see here.
    const auto exit = first_exit({.fragment = Fragment::popcount, .rcx = abi::guest_port_base, .rdx = 0xFF});
    ASSERT_TRUE(exit);
    if (std::holds_alternative<MmioExit>(*exit)) GTEST_SKIP() << "this KVM runs ring 0 natively";
    const auto* error = std::get_if<InternalErrorExit>(&*exit);
    ASSERT_NE(error, nullptr) << "exit kind " << exit->index();
    EXPECT_EQ(error->suberror, InternalErrorExit::emulation);
    ASSERT_GE(error->instruction_bytes, 5);
    const std::array<std::byte, 4> popcnt{std::byte{0xF3}, std::byte{0x48}, std::byte{0x0F}, std::byte{0xB8}};
    EXPECT_TRUE(std::ranges::equal(std::span(error->instruction).first<4>(), popcnt));
}

}  // namespace
}  // namespace penumbra::vmm::test
