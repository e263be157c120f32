// The whole way between a user's pipes and a virtio console's driver, both directions at once: nothing is lost and
// nothing changes places, however slowly either end takes it.
#include "vmm/devices/virtio/console_line.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <thread>

#include "tests/support/dma_loop.hpp"
#include "tests/support/fake_dma_machine.hpp"
#include "tests/support/fake_interrupts.hpp"
#include "tests/support/guest_view.hpp"
#include "tests/support/virtio_driver.hpp"
#include "vmm/control/console/host_console.hpp"
#include "vmm/devices/virtio/console.hpp"
#include "vmm/devices/virtio/virtio_mmio.hpp"

namespace penumbra::test {
namespace {

using namespace std::chrono_literals;
using vmm::VirtioConsole;

constexpr Gpa rings = address_of(FakeDmaMachine::low_first);
constexpr Gpa receive_buffers = address_of(FakeDmaMachine::high_first);
constexpr Gpa transmit_buffers = receive_buffers + 32 * page_bytes;

std::string random_bytes(std::size_t count, unsigned seed) {
    std::mt19937 random{seed};
    std::string bytes(count, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    return bytes;
}

struct Ends {
    Ends() {
        std::array<int, 2> ends{};
        EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
        from.reset(ends[0]);
        to.reset(ends[1]);
    }
    UniqueFd from;
    UniqueFd to;
};

class ConsoleLineTest : public testing::Test {
protected:
    ConsoleLineTest() {
        auto host = vmm::HostConsole::create({in_.from.get(), out_.to.get(), [] {}});
        EXPECT_TRUE(host);
        host_ = std::move(*host);
        auto made = vmm::ConsoleLine::create(*host_, loop_);
        EXPECT_TRUE(made);
        line_ = std::move(made->line);
        vmm::ConsoleOptions options;
        options.sink = [this](std::string_view text) { host_->sent(std::as_bytes(std::span(text))); };
        options.input = std::move(made->input);
        console_.emplace(std::move(options), machine_.service(), loop_);
        transport_.emplace(*console_, vmm::VirtioMmio::Place{Gpa{0xD010'0000}, vmm::Gsi{5}, 1}, interrupts_, nullptr);
        registers_.emplace(*transport_);
        driver_.emplace(memory_, *registers_);
        loop_.start();
        host_->connect(*line_);
    }
    ~ConsoleLineTest() override {
        host_->end(0ms);
        loop_.stop();
    }

    void give_buffer(unsigned number, std::uint32_t bytes) {
        const Gpa at = receive_buffers + number * page_bytes;
        places_[driver_->submit(VirtioConsole::receive_queue, {device_writes(at, bytes)})] = number;
    }
    /// Takes what was typed, through small buffers of random sizes, with pages that leave.
    [[nodiscard]] std::string receive(std::size_t bytes) {
        std::mt19937 random{4};
        std::string all;
        for (unsigned i = 0; i < 8; ++i) give_buffer(i, 1 + static_cast<std::uint32_t>(random() % 4000));
        while (all.size() < bytes) {
            const auto done = driver_->wait(VirtioConsole::receive_queue);
            if (!done) break;
            std::string got(done->written, ' ');
            const unsigned number = places_.at(done->head);
            memory_.read(receive_buffers + number * page_bytes, std::as_writable_bytes(std::span(got)));
            all += got;
            (void)machine_.evict(GfnRange{frame_of(receive_buffers) + number, 1});
            give_buffer(number, 1 + static_cast<std::uint32_t>(random() % 4000));
        }
        return all;
    }
    void print(std::string_view text) {
        while (!text.empty()) {
            const std::string_view piece = text.substr(0, std::min<std::size_t>(text.size(), 3000));
            memory_.write(transmit_buffers, std::as_bytes(std::span(piece)));
            (void)driver_->submit(VirtioConsole::transmit_queue,
                                  {device_reads(transmit_buffers, static_cast<std::uint32_t>(piece.size()))});
            ASSERT_TRUE(driver_->wait(VirtioConsole::transmit_queue).has_value());
            text.remove_prefix(piece.size());
        }
    }
    void type(std::string_view text) const {
        while (!text.empty()) {
            const ssize_t count = ::write(in_.to.get(), text.data(), text.size());
            ASSERT_GT(count, 0);
            text.remove_prefix(static_cast<std::size_t>(count));
        }
    }
    [[nodiscard]] std::string hear(std::size_t bytes) const {
        std::string all;
        std::array<char, 4096> buffer{};
        while (all.size() < bytes) {
            const ssize_t count = ::read(out_.from.get(), buffer.data(), buffer.size());
            if (count <= 0) break;
            all.append(buffer.data(), static_cast<std::size_t>(count));
        }
        return all;
    }

    Ends in_;
    Ends out_;
    FakeDmaMachine machine_;
    vmm::IoLoop loop_{"console"};
    FakeInterrupts interrupts_;
    GuestView memory_{machine_};
    std::unique_ptr<vmm::HostConsole> host_;
    std::unique_ptr<vmm::ConsoleLine> line_;
    std::optional<VirtioConsole> console_;
    std::optional<vmm::VirtioMmio> transport_;
    std::optional<MmioRegisters> registers_;
    std::optional<VirtioDriver> driver_;
    std::map<std::uint16_t, unsigned> places_;
};

TEST_F(ConsoleLineTest, BothDirectionsAreWhole) {
    ASSERT_TRUE(driver_->start(rings, 32));
    const std::string typed = random_bytes(200'000, 1);  // more than all the pipes on the way hold
    const std::string printed = random_bytes(200'000, 2);
    std::string heard;
    std::thread typist([&] { type(typed); });
    std::thread reader([&] { heard = hear(printed.size()); });
    const auto half = static_cast<std::ptrdiff_t>(printed.size() / 2);
    print(std::string_view(printed).substr(0, static_cast<std::size_t>(half)));
    const std::string received = receive(typed.size());
    print(std::string_view(printed).substr(static_cast<std::size_t>(half)));
    typist.join();
    reader.join();
    EXPECT_TRUE(received == typed) << received.size() << " bytes of " << typed.size();
    EXPECT_TRUE(heard == printed) << heard.size() << " bytes of " << printed.size();
    EXPECT_EQ(console_->bytes_typed(), typed.size());
    EXPECT_EQ(console_->bytes_printed(), printed.size());
}

TEST_F(ConsoleLineTest, WhatWasTypedBeforeTheGuestHasADriverWaits) {
    ASSERT_NO_FATAL_FAILURE(type("early"));
    std::this_thread::sleep_for(10ms);
    ASSERT_TRUE(driver_->start(rings, 32));
    EXPECT_EQ(receive(5), "early");
}

TEST_F(ConsoleLineTest, AfterAResetOfTheDeviceItGoesOn) {
    ASSERT_TRUE(driver_->start(rings, 32));
    ASSERT_NO_FATAL_FAILURE(type("one"));
    EXPECT_EQ(receive(3), "one");
    ASSERT_TRUE(driver_->registers().reset());
    places_.clear();
    ASSERT_TRUE(driver_->start(rings, 32));
    ASSERT_NO_FATAL_FAILURE(type("two"));
    EXPECT_EQ(receive(3), "two");
    print("three");
    EXPECT_EQ(hear(5), "three");
}

}  // namespace
}  // namespace penumbra::test
