// A hostile guest at the console: chains of any shape in both directions, resets and pauses in between. The bytes that
// come out are those that an honest chain put in.
//
// covers: vmm/devices/virtio/console.cpp
// leaves: vmm/devices/virtio/console_line.cpp: the host's pipe to the console
#include <fcntl.h>
#include <fuzzer/FuzzedDataProvider.h>
#include <unistd.h>

#include <array>
#include <future>
#include <optional>

#include "base/assert.hpp"
#include "tests/fuzz/swapped.hpp"
#include "tests/support/fake_dma_machine.hpp"
#include "tests/support/virtio_driver.hpp"
#include "vmm/devices/virtio/console.hpp"
#include "vmm/devices/virtio/virtio_mmio.hpp"

namespace {

using namespace penumbra;
using namespace penumbra::test;
using vmm::VirtioConsole;

constexpr Gpa rings{FakeDmaMachine::low_first.value() << page_shift};
constexpr Gpa buffers{FakeDmaMachine::high_first.value() << page_shift};
constexpr std::uint64_t buffer_bytes = FakeDmaMachine::slot_pages * page_bytes;

/// Where a console's input comes from, and whether it tells a size and prints.
enum class Kind : std::uint8_t { plain, sized, without_input, count };

class Machine {
public:
    explicit Machine(Kind kind) {
        vmm::ConsoleOptions options;
        if (kind != Kind::without_input) {
            std::array<int, 2> ends{};
            PENUMBRA_ASSERT(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) == 0, "no pipe for a test");
            keyboard_ = UniqueFd(ends[1]);
            options.input = UniqueFd(ends[0]);
        }
        if (kind == Kind::sized) options.columns = 80;
        options.sink = [this](std::string_view piece) { printed_ += piece; };
        console_.emplace(std::move(options), memory_.service(), loop_);
        transport_.emplace(*console_, vmm::VirtioMmio::Place{Gpa{0xD010'0000}, vmm::Gsi{5}, 1}, interrupts_, nullptr);
        registers_.emplace(*transport_);
        driver_.emplace(view_, *registers_);
        loop_.start();
    }
    ~Machine() {
        transport_->release_waiters();
        loop_.stop();
    }
    Machine(const Machine&) = delete;
    Machine& operator=(const Machine&) = delete;

    /// What was printed so far, and forgets it.
    std::string take_printed() {
        std::promise<std::string> taken;
        loop_.post([&] { taken.set_value(std::exchange(printed_, {})); });
        return taken.get_future().get();
    }
    void pause() {
        std::promise<void> quiet;
        console_->pause([&] { quiet.set_value(); });
        quiet.get_future().get();
    }

    FakeDmaMachine memory_;
    vmm::IoLoop loop_{"console"};
    FakeInterrupts interrupts_;
    GuestView view_{memory_};
    std::string printed_;  // the loop's
    UniqueFd keyboard_;
    std::optional<VirtioConsole> console_;
    std::optional<vmm::VirtioMmio> transport_;
    std::optional<MmioRegisters> registers_;
    std::optional<VirtioDriver> driver_;
};

std::vector<Buffer> some_chain(FuzzedDataProvider& input) {
    std::vector<Buffer> chain;
    const unsigned count = input.ConsumeIntegralInRange(1U, 6U);
    for (unsigned i = 0; i < count; ++i) {
        const bool anywhere = input.ConsumeIntegralInRange(0, 31) == 0;
        const Gpa at = anywhere ? Gpa{input.ConsumeIntegral<std::uint64_t>() >> 1}
                                : buffers + input.ConsumeIntegralInRange<std::uint64_t>(0, buffer_bytes);
        const std::uint32_t most = input.ConsumeIntegralInRange(0, 7) == 0 ? 200'000 : 10'000;
        chain.push_back({at, input.ConsumeIntegralInRange(0U, most),
                         input.ConsumeBool() ? Buffer::Use::device_reads : Buffer::Use::device_writes});
    }
    return chain;
}

/// As a good driver would: readable or writable, and in RAM.
std::vector<Buffer> good_chain(FuzzedDataProvider& input, unsigned queue) {
    std::vector<Buffer> chain;
    for (auto left = input.ConsumeIntegralInRange(1U, 4U); left > 0; --left) {
        const Gpa at = buffers + input.ConsumeIntegralInRange<std::uint64_t>(0, buffer_bytes / 2);
        const std::uint32_t bytes = input.ConsumeIntegralInRange(1U, 120'000U);
        chain.push_back(
            {at, bytes,
             queue == VirtioConsole::transmit_queue ? Buffer::Use::device_reads : Buffer::Use::device_writes});
    }
    return chain;
}

void step(FuzzedDataProvider& input, Machine& machine) {
    const unsigned queue = input.ConsumeIntegralInRange(0U, 1U);
    switch (input.ConsumeIntegralInRange(0, 12)) {
        case 0: {
            if (!machine.keyboard_) break;
            const std::string keys = input.ConsumeRandomLengthString(200);
            (void)!::write(machine.keyboard_.get(), keys.data(), keys.size());
            break;
        }
        case 1:
            swap_some_out(input, machine.memory_);
            break;
        case 2:
            machine.pause();
            break;
        case 3:
            machine.console_->resume();
            break;
        case 4:
            PENUMBRA_ASSERT(machine.driver_->start(rings, 32), "a good driver is refused");
            break;
        case 5:
            machine.console_->resize(input.ConsumeIntegral<std::uint16_t>(), 1);
            break;
        case 6:
            // The user leaves.
            if (input.ConsumeIntegralInRange(0, 7) == 0) machine.keyboard_ = UniqueFd();
            break;
        default: {
            const std::vector<Buffer> chain = input.ConsumeBool() ? some_chain(input) : good_chain(input, queue);
            if (!machine.driver_->queue(queue).add(std::span(chain))) break;
            machine.driver_->kick(queue);
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    FuzzedDataProvider input(data, size);
    // One machine of each kind for all inputs, for speed, and a new one where the user left.
    static std::array<std::optional<Machine>, static_cast<std::size_t>(Kind::count)> machines;
    static std::array<SwappedMemory, machines.size()> swapped{
        SwappedMemory("console_fuzz"), SwappedMemory("console_fuzz, sized"), SwappedMemory("console_fuzz, no input")};
    const auto number = input.ConsumeIntegralInRange<std::size_t>(0, machines.size() - 1);
    const auto kind = static_cast<Kind>(number);
    if (!machines[number] || (kind != Kind::without_input && !machines[number]->keyboard_)) {
        machines[number].emplace(kind);
    }
    Machine& machine = *machines[number];
    PENUMBRA_ASSERT(machine.driver_->start(rings, 32), "a good driver is refused");
    swap_some_out(input, machine.memory_);
    for (unsigned i = 0; i < 60 && input.remaining_bytes() > 0; ++i) step(input, machine);

    machine.console_->resume();
    PENUMBRA_ASSERT(machine.driver_->start(rings, 32), "a reset did not help");
    (void)machine.take_printed();
    const std::string text = "still there\n";
    machine.view_.write(buffers, std::as_bytes(std::span(text)));
    machine.memory_.evict_all();
    (void)machine.driver_->submit(VirtioConsole::transmit_queue,
                                  {device_reads(buffers, static_cast<std::uint32_t>(text.size()))});
    PENUMBRA_ASSERT(machine.driver_->wait(VirtioConsole::transmit_queue).has_value(),
                    "the console does not print any more");
    PENUMBRA_ASSERT(machine.take_printed() == text, "the console printed something else");
    PENUMBRA_ASSERT(machine.memory_.window().violations() == 0, "the window was changed against its contract");
    swapped[number].note(machine.memory_.service());
    return 0;
}
