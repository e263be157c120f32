// The user's end of the console on pipes and files: every byte arrives once and in order however slow the other end
// is, and an end that goes away costs nothing. Terminals: tests/host/terminal_test.cpp.
#include "vmm/control/console/host_console.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <random>
#include <string>
#include <string_view>
#include <thread>

namespace penumbra::vmm {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

struct Pipe {
    Pipe() {
        std::array<int, 2> ends{};
        EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
        from.reset(ends[0]);
        to.reset(ends[1]);
    }
    UniqueFd from;
    UniqueFd to;
};

std::string random_bytes(std::size_t count) {
    std::mt19937 random{11};
    std::string bytes(count, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    return bytes;
}

void write_all(const UniqueFd& fd, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t count = ::write(fd.get(), bytes.data(), bytes.size());
        ASSERT_GT(count, 0);
        bytes.remove_prefix(static_cast<std::size_t>(count));
    }
}

std::string read_to_end(const UniqueFd& fd) {
    std::string all;
    std::array<char, 65536> buffer{};
    for (ssize_t count = 0; (count = ::read(fd.get(), buffer.data(), buffer.size())) > 0;) {
        all.append(buffer.data(), static_cast<std::size_t>(count));
    }
    return all;
}

template <class Fn>
[[nodiscard]] bool eventually(Fn&& fn) {
    const auto deadline = Clock::now() + 20s;
    while (!fn()) {
        if (Clock::now() > deadline) return false;
        std::this_thread::sleep_for(1ms);
    }
    return true;
}

std::chrono::nanoseconds cpu_time() {
    timespec now{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return std::chrono::seconds{now.tv_sec} + std::chrono::nanoseconds{now.tv_nsec};
}

/// CPU time that this process takes while the test sleeps.
std::chrono::nanoseconds cpu_time_of_rest() {
    const auto before = cpu_time();
    std::this_thread::sleep_for(200ms);
    return cpu_time() - before;
}

/// Has room for a few bytes at a time.
class SlowGuest final : public ConsolePort {
public:
    explicit SlowGuest(std::size_t room) : room_(room) {}

    [[nodiscard]] std::size_t receive(std::span<const std::byte> bytes) override {
        const MutexLock lock(mutex_);
        const std::size_t taken = std::min(bytes.size(), room_);
        for (const std::byte byte : bytes.first(taken)) received_.push_back(static_cast<char>(byte));
        room_ -= taken;
        return taken;
    }
    void make_room(std::size_t bytes) {
        const MutexLock lock(mutex_);
        room_ += bytes;
    }
    [[nodiscard]] std::string received() {
        const MutexLock lock(mutex_);
        return received_;
    }

private:
    Mutex mutex_{LockRank::leaf};
    std::size_t room_ GUARDED_BY(mutex_);
    std::string received_ GUARDED_BY(mutex_);
};

class HostConsoleTest : public testing::Test {
protected:
    std::unique_ptr<HostConsole> make(int input, int output) {
        auto made = HostConsole::create({input, output, [this] { ++quits_; }});
        EXPECT_TRUE(made) << made.error().message();
        return made ? std::move(*made) : nullptr;
    }
    static void send(HostConsole& console, std::string_view text) { console.sent(std::as_bytes(std::span(text))); }

    std::atomic<unsigned> quits_{0};
    Pipe in_;
    Pipe out_;
};

TEST_F(HostConsoleTest, ASlowGuestGetsEveryByteOfAPipeInOrder) {
    const std::string typed = random_bytes(100'000);  // 1 'x' too: a pipe holds no keys
    SlowGuest guest(0);
    const auto console = make(in_.from.get(), out_.to.get());
    console->connect(guest);
    std::thread typist([&] { write_all(in_.to, typed); });
    std::mt19937 random{12};
    EXPECT_TRUE(eventually([&] {
        for (unsigned i = 0; i < 50; ++i) {
            guest.make_room(random() % 64);
            console->ready_for_more();
        }
        return guest.received().size() >= typed.size();
    })) << guest.received().size();
    typist.join();
    EXPECT_EQ(guest.received(), typed);
    EXPECT_EQ(quits_, 0U);
    EXPECT_EQ(console->end(0ms), 0U);
}

TEST_F(HostConsoleTest, WhatWasTypedBeforeThereIsAGuestWaits) {
    write_all(in_.to, "early");
    SlowGuest guest(100);
    const auto console = make(in_.from.get(), out_.to.get());
    std::this_thread::sleep_for(10ms);
    console->connect(guest);
    EXPECT_TRUE(eventually([&] { return guest.received() == "early"; }));
}

TEST_F(HostConsoleTest, ThePortOfAGuestThatTakesNothingIsNotAskedForEver) {
    SlowGuest guest(3);
    const auto console = make(in_.from.get(), out_.to.get());
    console->connect(guest);
    write_all(in_.to, "abcdef");
    ASSERT_TRUE(eventually([&] { return guest.received() == "abc"; }));
    EXPECT_LT(cpu_time_of_rest(), 50ms);
}

TEST_F(HostConsoleTest, TheEndOfInputIsNoEndOfTheRunAndCostsNothing) {
    SlowGuest guest(100);
    const UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    in_.to.reset();
    for (const int input : {in_.from.get(), null.get(), -1}) {
        const auto console = make(input, out_.to.get());
        console->connect(guest);
        EXPECT_LT(cpu_time_of_rest(), 50ms) << "descriptor " << input;
        send(*console, "still there\n");
        EXPECT_EQ(console->end(10s), 0U);
    }
    EXPECT_EQ(quits_, 0U);
    out_.to.reset();
    EXPECT_EQ(read_to_end(out_.from), "still there\nstill there\nstill there\n");
}

TEST_F(HostConsoleTest, OutputNobodyReadsAnyMoreIsCountedAndCostsNothing) {
    const auto console = make(-1, out_.to.get());
    send(*console, "heard");
    std::array<char, 5> heard{};
    ASSERT_EQ(::read(out_.from.get(), heard.data(), heard.size()), 5);
    out_.from.reset();
    send(*console, "not heard");
    EXPECT_LT(cpu_time_of_rest(), 50ms);
    send(*console, "nor this");
    EXPECT_EQ(console->end(10s), 17U);
    EXPECT_EQ(console->end(10s), 17U) << "once more";
}

TEST_F(HostConsoleTest, ASlowReaderGetsAllUpToTheLimitAndTheRestIsCounted) {
    auto console = make(-1, out_.to.get());
    const std::string said = random_bytes(HostConsole::most_waiting);
    send(*console, said);  // more than a pipe holds
    std::string heard;
    std::thread reader([&] { heard = read_to_end(out_.from); });
    EXPECT_EQ(console->end(20s), 0U);
    console.reset();
    out_.to.reset();
    reader.join();
    EXPECT_EQ(heard, said);
}

TEST_F(HostConsoleTest, AReaderWhoTakesNothingIsWaitedForThatLongOnly) {
    auto console = make(-1, out_.to.get());
    const std::string said = random_bytes(3 * HostConsole::most_waiting);
    for (std::size_t at = 0; at < said.size(); at += 4096) send(*console, std::string_view(said).substr(at, 4096));
    const auto begun = Clock::now();
    const std::uint64_t lost = console->end(50ms);
    EXPECT_LT(Clock::now() - begun, 5s);
    console.reset();
    out_.to.reset();
    const std::string heard = read_to_end(out_.from);
    EXPECT_EQ(heard, said.substr(0, heard.size())) << "what is dropped is the end";
    EXPECT_EQ(heard.size() + lost, said.size());
    EXPECT_GT(lost, 0U);
}

struct Typed {
    const char* name;
    std::string keys;
    std::string guest;
    bool quits = false;
};

class EscapeKeysTest : public testing::TestWithParam<Typed> {};

INSTANTIATE_TEST_SUITE_P(Keys, EscapeKeysTest,
                         testing::Values(Typed{"plain", "abc\r", "abc\r"},           //
                                         Typed{"quit", "ab\1xcd", "ab", true},       //
                                         Typed{"twice", "a\1\1b", "a\1b"},           //
                                         Typed{"letter", "\1a\1a", "\1\1"},          //
                                         Typed{"others", "\1c\1h\1?", "\1c\1h\1?"},  //
                                         Typed{"not_after_two", "\1\1x", "\1x"},     //
                                         Typed{"capital", "\1X", "\1X"},             //
                                         Typed{"not_yet", "ab\1", "ab"}),
                         [](const auto& test) { return test.param.name; });

TEST_P(EscapeKeysTest, AreTheSameHoweverTheyCome) {
    const Typed& typed = GetParam();
    for (std::size_t piece = 1; piece <= typed.keys.size(); ++piece) {
        EscapeKeys keys;
        std::string guest;
        bool quits = false;
        for (std::size_t at = 0; at < typed.keys.size() && !quits; at += piece) {
            const std::string part = typed.keys.substr(at, piece);
            const EscapeKeys::Filtered filtered = keys.filter(std::as_bytes(std::span(part)));
            for (const std::byte byte : filtered.bytes) guest.push_back(static_cast<char>(byte));
            quits = filtered.wish == EscapeKeys::Wish::quit;
        }
        EXPECT_EQ(guest, typed.guest) << "in pieces of " << piece;
        EXPECT_EQ(quits, typed.quits) << "in pieces of " << piece;
    }
}

}  // namespace
}  // namespace penumbra::vmm
