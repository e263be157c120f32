// A hostile guest at the console: chains of any shape in both directions, resets and pauses in between. The bytes that
// come out are those that an honest chain put in.
#include <fcntl.h>
#include <fuzzer/FuzzedDataProvider.h>
#include <unistd.h>

#include <array>
#include <future>
#include <optional>

#include "base/assert.hpp"
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

class Machine {
public:
    Machine() {
        std::array<int, 2> ends{};
        PENUMBRA_ASSERT(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) == 0, "no pipe for a test");
        keyboard_ = UniqueFd(ends[1]);
        vmm::ConsoleOptions options;
        options.input = UniqueFd(ends[0]);
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
        chain.push_back({at, input.ConsumeIntegralInRange(0U, 10'000U),
                         input.ConsumeBool() ? Buffer::Use::device_reads : Buffer::Use::device_writes});
    }
    return chain;
}

void step(FuzzedDataProvider& input, Machine& machine) {
    const unsigned queue = input.ConsumeIntegralInRange(0U, 1U);
    switch (input.ConsumeIntegralInRange(0, 9)) {
        case 0: {
            const std::string keys = input.ConsumeRandomLengthString(200);
            (void)!::write(machine.keyboard_.get(), keys.data(), keys.size());
            break;
        }
        case 1:
            machine.memory_.evict_all();
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
        default: {
            const std::vector<Buffer> chain = some_chain(input);
            if (!machine.driver_->queue(queue).add(std::span(chain))) break;
            machine.driver_->kick(queue);
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    FuzzedDataProvider input(data, size);
    static Machine machine;
    PENUMBRA_ASSERT(machine.driver_->start(rings, 32), "a good driver is refused");
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
    return 0;
}
