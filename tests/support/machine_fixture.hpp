// Whole machines for tests: the production pager, tables and accelerator on the real /dev/kvm, with a guest image, at
// sizes of a few seconds.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/mutex.hpp"
#include "tests/support/pace.hpp"
#include "vmm/control/report.hpp"
#include "vmm/machine.hpp"

namespace penumbra::vmm::test {

using Clock = std::chrono::steady_clock;
using penumbra::test::slowness;

enum class Tiers : std::uint8_t { lz4_and_file, lz4, file };

/// Nothing that a test waits for takes this long, in a sanitizer build on a busy machine either.
inline const std::chrono::seconds patience{std::min(slowness(), 3U) * 100};

/// `image` is the path of a guest image. 40 MiB over 16 MiB, one pass, one vCPU in ring 3, stale faults fatal. Where
/// the host is slow, 24 MiB, unless compression alone must not be able to hold them.
[[nodiscard]] RunOptions machine_options(const std::string& image, Tiers tiers = Tiers::lz4_and_file);

/// A started machine and what its guest printed.
class TestMachine {
public:
    /// Completes the options as the command line would. What cannot be made is a broken promise of the test.
    explicit TestMachine(RunOptions options);
    TestMachine(const TestMachine&) = delete;
    TestMachine& operator=(const TestMachine&) = delete;

    [[nodiscard]] Machine& operator*() { return *machine_; }
    [[nodiscard]] Machine* operator->() { return machine_.get(); }
    /// Ends and destroys the machine; returns how long that took.
    Clock::duration destroy();

    [[nodiscard]] bool wait_for(MachineState state) { return machine_->wait_for(state, Clock::now() + patience); }
    /// Until a console line that contains `part` was printed.
    [[nodiscard]] bool wait_for_line(std::string_view part) EXCLUDES(mutex_);
    [[nodiscard]] std::vector<std::string> lines() const EXCLUDES(mutex_);
    /// Pauses, and waits until every vCPU is out of the guest and the pager has stopped moving pages.
    [[nodiscard]] bool pause_until_quiet();
    /// The run report of this moment.
    [[nodiscard]] RunReport report();

private:
    void print(std::string_view line) EXCLUDES(mutex_);
    [[nodiscard]] std::vector<std::uint64_t> movements();

    mutable Mutex mutex_{LockRank::leaf};
    CondVar printed_;
    std::vector<std::string> lines_ GUARDED_BY(mutex_);
    std::unique_ptr<Machine> machine_;
};

/// Asks again every few milliseconds until the answer is yes; false when `limit` passed first.
template <class Fn>
[[nodiscard]] bool eventually(Fn&& fn, std::chrono::milliseconds limit = patience) {
    const auto deadline = Clock::now() + limit;
    while (!fn()) {
        if (Clock::now() > deadline) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds{2});
    }
    return true;
}

/// The guest ended by itself and everything a run promises held: see the expectations within.
void expect_clean_end(TestMachine& machine);

/// Skips, with the reason, where there is no /dev/kvm.
class MachineTest : public testing::Test {
protected:
    void SetUp() override;
};

}  // namespace penumbra::vmm::test
