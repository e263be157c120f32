// The console: every byte once and in order both ways, and no more read from the host than the guest takes.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <future>
#include <random>

#include "tests/support/dma_loop.hpp"
#include "tests/support/fake_dma_machine.hpp"
#include "tests/support/virtio_driver.hpp"
#include "vmm/devices/virtio/console.hpp"
#include "vmm/devices/virtio/virtio_mmio.hpp"

namespace penumbra::test {
namespace {

using vmm::VirtioConsole;

constexpr Gpa rings{FakeDmaMachine::low_first.value() << page_shift};
constexpr Gpa buffers{FakeDmaMachine::high_first.value() << page_shift};
constexpr Gpa hole{FakeDmaMachine::hole.value() << page_shift};

std::string text(std::size_t bytes, unsigned seed) {
    std::mt19937 random(seed);
    std::string made(bytes, ' ');
    for (char& c : made) c = static_cast<char>('!' + random() % 90);
    return made;
}

class VirtioConsoleTest : public testing::Test {
protected:
    enum class Input { none, pipe };

    explicit VirtioConsoleTest(Input input = Input::pipe) {
        vmm::ConsoleOptions options;
        options.sink = [this](std::string_view piece) {
            if (on_piece_) on_piece_();
            const MutexLock lock(mutex_);
            printed_ += piece;
        };
        options.columns = 80;
        options.rows = 25;
        if (input == Input::pipe) {
            std::array<int, 2> ends{};
            EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
            options.input = UniqueFd(ends[0]);
            keyboard_ = UniqueFd(ends[1]);
        }
        console_.emplace(std::move(options), machine_.service(), loop_);
        transport_.emplace(*console_, vmm::VirtioMmio::Place{Gpa{0xD010'0000}, vmm::Gsi{5}, 1}, interrupts_, nullptr);
        registers_.emplace(*transport_);
        driver_.emplace(memory_, *registers_);
        loop_.start();
    }
    ~VirtioConsoleTest() override {
        machine_.slow().let_go();
        loop_.stop();
    }

    /// Returns once the loop has run everything that was posted before.
    void sync() {
        std::promise<void> ran;
        loop_.post([&ran] { ran.set_value(); });
        ran.get_future().get();
    }
    void type(std::string_view keys) {
        while (!keys.empty()) {
            const ssize_t written = ::write(keyboard_.get(), keys.data(), keys.size());
            ASSERT_GT(written, 0);
            keys.remove_prefix(static_cast<std::size_t>(written));
        }
    }
    [[nodiscard]] std::string printed() {
        const MutexLock lock(mutex_);
        return printed_;
    }
    void give_buffer(Gpa at, std::uint32_t bytes) {
        places_[driver_->submit(VirtioConsole::receive_queue, {device_writes(at, bytes)})] = at;
    }
    /// What the next buffer brought; empty when none came.
    [[nodiscard]] std::string receive() {
        const auto done = driver_->wait(VirtioConsole::receive_queue);
        if (!done) return {};
        std::string got(done->written, ' ');
        memory_.read(places_[done->head], std::as_writable_bytes(std::span(got)));
        return got;
    }

    FakeDmaMachine machine_;
    vmm::IoLoop loop_{"console"};
    FakeInterrupts interrupts_;
    GuestView memory_{machine_};
    Mutex mutex_{LockRank::leaf};
    std::string printed_ GUARDED_BY(mutex_);
    std::function<void()> on_piece_;  // on the loop
    UniqueFd keyboard_;
    std::optional<VirtioConsole> console_;
    std::optional<vmm::VirtioMmio> transport_;
    std::optional<MmioRegisters> registers_;
    std::optional<VirtioDriver> driver_;
    std::map<std::uint16_t, Gpa> places_;
};

TEST_F(VirtioConsoleTest, PrintsInOrderWhateverPagesLeave) {
    ASSERT_TRUE(driver_->start(rings, 32));
    std::string all;
    for (unsigned i = 0; i < 60; ++i) {
        const std::string piece = text(1 + i * 97 % 9000, i);
        const Gpa at = buffers + (i % 8) * 4 * page_bytes + 50;
        memory_.write(at, std::as_bytes(std::span(piece)));
        machine_.evict_all();
        const auto half = static_cast<std::uint32_t>(piece.size() / 2);
        if (half > 0) {
            (void)driver_->submit(
                VirtioConsole::transmit_queue,
                {device_reads(at, half), device_reads(at + half, static_cast<std::uint32_t>(piece.size()) - half)});
        } else {
            (void)driver_->submit(VirtioConsole::transmit_queue,
                                  {device_reads(at, static_cast<std::uint32_t>(piece.size()))});
        }
        all += piece;
        if (i % 8 != 7) continue;
        while (driver_->queue(VirtioConsole::transmit_queue).in_flight() > 0) {
            const auto done = driver_->wait(VirtioConsole::transmit_queue);
            ASSERT_TRUE(done);
            EXPECT_EQ(done->written, 0U);
        }
    }
    while (driver_->queue(VirtioConsole::transmit_queue).in_flight() > 0) {
        ASSERT_TRUE(driver_->wait(VirtioConsole::transmit_queue));
    }
    EXPECT_EQ(printed(), all);
    EXPECT_EQ(console_->bytes_printed(), all.size());
}

TEST_F(VirtioConsoleTest, AHugeChainLeavesTheLoopToOthers) {
    ASSERT_TRUE(driver_->start(rings, 32));
    memory_.write(buffers, std::vector<std::byte>(page_bytes, std::byte{'x'}));
    // The same page a thousand times over.
    const std::vector<Buffer> chain(1000, device_reads(buffers, page_bytes));
    ASSERT_TRUE(driver_->queue(VirtioConsole::transmit_queue).add_indirect(chain, buffers + 4 * page_bytes));
    std::uint64_t others_turn = 0;
    on_piece_ = [&] {
        on_piece_ = nullptr;
        loop_.post([&] { others_turn = console_->bytes_printed(); });
    };
    driver_->kick(VirtioConsole::transmit_queue);
    ASSERT_TRUE(driver_->wait(VirtioConsole::transmit_queue));
    sync();
    EXPECT_GT(others_turn, 0U);
    EXPECT_LE(others_turn, 20 * page_bytes);
    EXPECT_EQ(console_->bytes_printed(), 1000 * page_bytes);
}

TEST_F(VirtioConsoleTest, TypesWhatTheHostSends) {
    ASSERT_TRUE(driver_->start(rings, 32));
    const std::string keys = text(20'000, 5);
    std::string got;
    Thread typist("typist", ThreadRole::vmm, [&] { type(keys); });
    for (unsigned i = 0; got.size() < keys.size(); ++i) {
        give_buffer(buffers + (i % 8) * page_bytes + 1000, 1 + i * 37 % 5000);
        machine_.evict_all();
        const std::string piece = receive();
        ASSERT_FALSE(piece.empty());
        got += piece;
    }
    typist.join();
    EXPECT_EQ(got, keys);
    EXPECT_EQ(console_->bytes_typed(), keys.size());
}

TEST_F(VirtioConsoleTest, ReadsNoMoreThanTheGuestTakes) {
    ASSERT_TRUE(driver_->start(rings, 32));
    type(text(30'000, 6));
    const auto left = [&] {
        int bytes = 0;
        EXPECT_EQ(::ioctl(keyboard_.get(), FIONREAD, &bytes), 0);
        return bytes;
    };
    ASSERT_TRUE(becomes_true([&] { return left() < 30'000; }));
    for (unsigned i = 0; i < 10; ++i) sync();
    EXPECT_EQ(left(), 30'000 - 4096);
}

TEST_F(VirtioConsoleTest, AShortInputFillsItsBufferInPart) {
    ASSERT_TRUE(driver_->start(rings, 32));
    give_buffer(buffers, 4096);
    give_buffer(buffers + page_bytes, 4096);
    type("hello");
    EXPECT_EQ(receive(), "hello");
    type("again");
    EXPECT_EQ(receive(), "again");
}

TEST_F(VirtioConsoleTest, TheEndOfInputIsQuiet) {
    ASSERT_TRUE(driver_->start(rings, 32));
    give_buffer(buffers, 4096);
    type("bye");
    keyboard_.reset();
    EXPECT_EQ(receive(), "bye");
    memory_.put(buffers, 'x');
    (void)driver_->submit(VirtioConsole::transmit_queue, {device_reads(buffers, 1)});
    EXPECT_TRUE(driver_->wait(VirtioConsole::transmit_queue));
    EXPECT_EQ(printed(), "x");
}

TEST_F(VirtioConsoleTest, WorksAfterResetAndPause) {
    ASSERT_TRUE(driver_->start(rings, 32));
    machine_.slow().hold(machine_.host(frame_of(buffers)));
    (void)driver_->submit(VirtioConsole::transmit_queue, {device_reads(buffers, 10)});
    give_buffer(buffers + 100, 10);
    type("k");
    ASSERT_TRUE(becomes_true([&] { return machine_.slow().waiting() > 0; }));
    ASSERT_TRUE(driver_->start(rings, 32));
    machine_.slow().let_go();
    EXPECT_EQ(printed(), "");
    give_buffer(buffers, 10);
    EXPECT_EQ(receive(), "k") << "what was typed is kept";

    std::promise<void> quiet;
    console_->pause([&] { quiet.set_value(); });
    quiet.get_future().get();
    memory_.write(buffers, std::as_bytes(std::span("abc", 3)));
    (void)driver_->submit(VirtioConsole::transmit_queue, {device_reads(buffers, 3)});
    give_buffer(buffers + 100, 10);
    type("l");
    EXPECT_EQ(printed(), "");
    console_->resume();
    EXPECT_TRUE(driver_->wait(VirtioConsole::transmit_queue));
    EXPECT_EQ(printed(), "abc");
    EXPECT_EQ(receive(), "l");
}

TEST_F(VirtioConsoleTest, TellsItsSize) {
    EXPECT_NE(registers_->offered() & VirtioConsole::feature_size, 0U);
    ASSERT_TRUE(driver_->start(rings, 32));
    EXPECT_EQ(registers_->config(0, 2), 80U);
    EXPECT_EQ(registers_->config(2, 2), 25U);
    EXPECT_EQ(registers_->config(4, 4), 1U);
    console_->resize(300, 50);
    EXPECT_EQ(registers_->take_isr(), vmm::virtio_isr::config);
    EXPECT_EQ(registers_->config(0, 4), 50U << 16 | 300);
}

TEST_F(VirtioConsoleTest, BuffersOutsideOfRamStopIt) {
    for (const unsigned queue : {VirtioConsole::receive_queue, VirtioConsole::transmit_queue}) {
        ASSERT_TRUE(driver_->start(rings, 32));
        (void)driver_->submit(queue,
                              {queue == VirtioConsole::receive_queue ? device_writes(hole, 8) : device_reads(hole, 8)});
        type("k");
        EXPECT_TRUE(becomes_true([&] { return (registers_->status() & vmm::virtio_status::needs_reset) != 0; }));
    }
}

TEST_F(VirtioConsoleTest, ChainsWithoutRoomComeBackEmpty) {
    ASSERT_TRUE(driver_->start(rings, 32));
    (void)driver_->submit(VirtioConsole::transmit_queue, {device_writes(buffers, 8)});
    ASSERT_TRUE(driver_->wait(VirtioConsole::transmit_queue));
    EXPECT_EQ(printed(), "");
    (void)driver_->submit(VirtioConsole::receive_queue, {device_reads(buffers, 8)});
    give_buffer(buffers, 8);
    type("k");
    const auto done = driver_->wait(VirtioConsole::receive_queue);
    ASSERT_TRUE(done);
    EXPECT_EQ(done->written, 0U);
    EXPECT_EQ(receive(), "k");
}

class SilentConsole : public VirtioConsoleTest {
protected:
    SilentConsole() : VirtioConsoleTest(Input::none) {}
};

TEST_F(SilentConsole, PrintsWithoutInput) {
    ASSERT_TRUE(driver_->start(rings, 32));
    give_buffer(buffers + 100, 8);
    memory_.put(buffers, 'x');
    (void)driver_->submit(VirtioConsole::transmit_queue, {device_reads(buffers, 1)});
    EXPECT_TRUE(driver_->wait(VirtioConsole::transmit_queue));
    EXPECT_EQ(printed(), "x");
}

}  // namespace
}  // namespace penumbra::test
