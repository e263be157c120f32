// A machine made of host memory for the churn workload: threads play the vCPUs, and a device answers at its doorbell.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "guest-images/common/churn_core.hpp"

namespace penumbra::guest {

inline constexpr std::uint64_t low_bytes = 24ULL << 20;
inline constexpr std::uint64_t high_bytes = 8ULL << 20;
inline constexpr std::uint64_t image_end = 0x12'3000;
inline constexpr std::uint64_t payload_pages = 37;

/// Guest memory, payload, console and accelerator of both threads.
struct TestMachine {
    std::vector<std::uint64_t> low = std::vector<std::uint64_t>(low_bytes / 8);
    std::vector<std::uint64_t> high = std::vector<std::uint64_t>(high_bytes / 8);
    std::vector<std::uint64_t> payload = std::vector<std::uint64_t>(payload_pages * page_bytes / 8);
    abi::BootInfo boot{};
    std::mutex console_mutex;
    std::vector<std::string> console;
    abi::Report report{};
    std::function<void(const std::string&)> on_line;  ///< runs on the thread that wrote the line
    std::atomic<std::uint64_t> finish_early{0};
    std::uint64_t head = 0;
    std::uint64_t control = 0;
    bool refuses_to_start = false;
    std::uint64_t lies = 0;  ///< how many sums to falsify
    bool drops_writes = false;
    bool stops_at_doorbell = false;  ///< answers the first doorbell with a ring error

    TestMachine() {
        Random random(7);
        for (auto& word : payload) word = random.next();
        boot.magic = abi::boot_magic;
        boot.low_ram_bytes = low_bytes;
        boot.high_ram_bytes = high_bytes;
        boot.image_end = image_end;
        boot.payload_pages = payload_pages;
        boot.cpus = 2;
        boot.has_accelerator = 1;
        boot.seed = 42;
        boot.passes = 1;
        boot.rewrites_permille = 500;
    }

    std::uint8_t* ram(std::uint64_t gpa) {
        auto* const bytes = reinterpret_cast<std::uint8_t*>(gpa < low_bytes ? low.data() : high.data());
        return bytes + (gpa < low_bytes ? gpa : gpa - abi::high_ram_base);
    }
    void hear(std::uint64_t gpa) {
        std::uint64_t bytes = 0;
        std::memcpy(&bytes, ram(gpa), sizeof(bytes));
        ASSERT_LE(bytes, ChurnLayout::line_bytes - sizeof(bytes));
        const std::string line(reinterpret_cast<const char*>(ram(gpa)) + sizeof(bytes), bytes);
        {
            const std::scoped_lock lock(console_mutex);
            console.push_back(line);
        }
        if (on_line) on_line(line);
    }
    void obey(abi::AccelCommand& command) {
        std::uint8_t* const target = command.target == 0 ? nullptr : ram(command.target);
        switch (static_cast<abi::AccelOpcode>(command.opcode)) {
            case abi::AccelOpcode::crc32c:
                command.value = crc32c(ram(command.source), command.bytes);
                if (lies != 0) {
                    --lies;
                    command.value ^= 1;
                }
                break;
            case abi::AccelOpcode::copy:
                if (!drops_writes) std::memcpy(target, ram(command.source), command.bytes);
                break;
            case abi::AccelOpcode::fill:
                if (drops_writes) break;
                for (std::uint64_t i = 0; i < command.bytes; i += 8) std::memcpy(target + i, &command.source, 8);
                break;
            default:
                FAIL() << "opcode " << command.opcode;
        }
        command.result = static_cast<std::uint32_t>(abi::AccelResult::done);
    }
    void ring_doorbell(std::uint64_t tail) {
        const ChurnLayout layout(boot);
        ASSERT_LE(tail - head, 16U);
        if (stops_at_doorbell) {
            control |= static_cast<std::uint64_t>(abi::AccelStatus::ring_error);
            return;
        }
        for (; head != tail; ++head) {
            obey(reinterpret_cast<abi::AccelCommand*>(
                ram(layout.ring()))[head % (page_bytes / sizeof(abi::AccelCommand))]);
        }
    }
};

class TestPlatform {
public:
    TestPlatform(TestMachine& machine, unsigned cpu) : machine_(machine), cpu_(cpu) {}

    std::uint8_t* ram(std::uint64_t gpa) { return machine_.ram(gpa); }
    const std::uint8_t* payload(std::uint64_t page) {
        return reinterpret_cast<const std::uint8_t*>(machine_.payload.data()) + page * page_bytes;
    }
    std::uint64_t mmio_read(std::uint64_t gpa) {
        if (gpa == abi::guest_port_base + static_cast<std::uint64_t>(abi::Port::finish_early)) {
            return machine_.finish_early.load();
        }
        if (gpa == abi::accelerator_base + static_cast<std::uint64_t>(abi::AccelRegister::head)) return machine_.head;
        if (gpa == abi::accelerator_base + static_cast<std::uint64_t>(abi::AccelRegister::status)) {
            return machine_.refuses_to_start ? 0 : machine_.control;
        }
        ADD_FAILURE() << "read of " << gpa;
        return 0;
    }
    void mmio_write(std::uint64_t gpa, std::uint64_t value) {
        if (gpa >= abi::accelerator_base) return write_accelerator(gpa - abi::accelerator_base, value);
        switch (static_cast<abi::Port>(gpa - abi::guest_port_base)) {
            case abi::Port::console:
                return machine_.hear(value);
            case abi::Port::report:
                std::memcpy(&machine_.report, ram(value), sizeof(machine_.report));
                return;
            default:
                ADD_FAILURE() << "write of " << gpa;
        }
    }
    [[nodiscard]] unsigned cpu() const { return cpu_; }
    void relax() { std::this_thread::yield(); }

private:
    void write_accelerator(std::uint64_t offset, std::uint64_t value) {
        if (offset == static_cast<std::uint64_t>(abi::AccelRegister::control)) machine_.control = value;
        if (offset == static_cast<std::uint64_t>(abi::AccelRegister::doorbell)) machine_.ring_doorbell(value);
    }

    TestMachine& machine_;
    unsigned cpu_;
};

inline std::vector<ChurnStatus> churn(TestMachine& machine) {
    std::vector<ChurnStatus> status(machine.boot.cpus);
    std::vector<std::thread> threads;
    for (unsigned cpu = 0; cpu < machine.boot.cpus; ++cpu) {
        threads.emplace_back([&machine, &status, cpu] {
            TestPlatform platform(machine, cpu);
            status[cpu] = run_churn(platform, machine.boot);
        });
    }
    for (auto& thread : threads) thread.join();
    return status;
}

}  // namespace penumbra::guest
