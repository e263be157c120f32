// What the rest of the machine does to a measured time: how long threads of this process were ready to run and had no
// CPU. Without it a time says what the code took, however busy the machine is.
#pragma once

#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

namespace penumbra::test {

/// Sum over this process's threads that live now. Zero where the kernel does not count it (proc-schedstats: second
/// number of schedstat).
[[nodiscard]] inline std::chrono::nanoseconds cpu_waits() {
    std::chrono::nanoseconds sum{0};
    std::error_code none;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", none)) {
        std::int64_t ran = 0, waited = 0;
        if (std::ifstream{task.path() / "schedstat"} >> ran >> waited) sum += std::chrono::nanoseconds{waited};
    }
    return sum;
}

/// What a hypervisor kept from this machine's CPUs, in ticks of the kernel's clock (proc(5): eighth number of "cpu").
[[nodiscard]] inline std::chrono::nanoseconds stolen_time() {
    std::ifstream file{"/proc/stat"};
    std::string name;
    std::int64_t ticks = 0;
    file >> name;
    for (int field = 0; field < 8; ++field) file >> ticks;
    return file ? std::chrono::nanoseconds{ticks * 1'000'000'000 / ::sysconf(_SC_CLK_TCK)}
                : std::chrono::nanoseconds{0};
}

/// The time since its construction, less what threads waited for a CPU meanwhile. What code waits for by itself (a
/// lock, a timer, a page) is all in it, as long as no other thread waits for a CPU at the same time.
class OwnTime {
public:
    [[nodiscard]] std::chrono::nanoseconds taken() const {
        const std::chrono::nanoseconds whole = std::chrono::steady_clock::now() - begun_;
        return whole - (cpu_waits() - waits_) - (stolen_time() - stolen_);
    }

private:
    // In this order: reading the numbers is not part of the time.
    std::chrono::nanoseconds waits_ = cpu_waits();
    std::chrono::nanoseconds stolen_ = stolen_time();
    std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
};

}  // namespace penumbra::test
