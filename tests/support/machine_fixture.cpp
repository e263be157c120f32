#include "tests/support/machine_fixture.hpp"

#include <unistd.h>

#include <atomic>
#include <filesystem>

#include "base/assert.hpp"
#include "vmm/collect.hpp"
#include "vmm/kvm/kvm.hpp"

namespace penumbra::vmm::test {

namespace {

/// A name of its own for every machine; the file is the machine's to remove.
std::string new_swap_path() {
    static std::atomic<unsigned> next{0};
    const std::string name = "penumbra-" + std::to_string(::getpid()) + "-" + std::to_string(next.fetch_add(1));
    return std::filesystem::path(testing::TempDir()) / (name + ".swap");
}

}  // namespace

RunOptions machine_options(const std::string& image, Tiers tiers) {
    RunOptions options;
    options.image = image;
    options.memory_bytes = (slowness() > 1 && tiers != Tiers::lz4 ? 24 : 40) * mib;
    options.budget_bytes = 16 * mib;
    options.passes = 1;
    options.stale_faults = StaleFaults::fatal;
    if (tiers != Tiers::file) options.swap.push_back({SwapKind::lz4, {}});
    if (tiers != Tiers::lz4) options.swap.push_back({SwapKind::file, new_swap_path()});
    return options;
}

TestMachine::TestMachine(RunOptions options) {
    Result<ValidatedRun> run = validate(std::move(options));
    if (!run) assertion_failed("valid options", __FILE__, __LINE__, run.error().message());
    Result<std::unique_ptr<Machine>> made =
        Machine::create(run->options, [this](std::string_view line) { print(line); });
    if (!made) assertion_failed("a machine", __FILE__, __LINE__, made.error().message());
    machine_ = std::move(*made);
    const Result<> started = machine_->start();
    PENUMBRA_ASSERT(started.has_value(), "a machine that starts");
}

Clock::duration TestMachine::destroy() {
    const auto begin = Clock::now();
    machine_.reset();
    return Clock::now() - begin;
}

void TestMachine::print(std::string_view line) {
    const MutexLock lock(mutex_);
    lines_.emplace_back(line);
    printed_.notify_all();
}

bool TestMachine::wait_for_line(std::string_view part) {
    const auto deadline = Clock::now() + patience;
    const MutexLock lock(mutex_);
    std::size_t seen = 0;
    for (;;) {
        for (; seen < lines_.size(); ++seen) {
            if (lines_[seen].find(part) != std::string::npos) return true;
        }
        if (!printed_.wait_until(mutex_, deadline)) return false;
    }
}

std::vector<std::string> TestMachine::lines() const {
    const MutexLock lock(mutex_);
    return lines_;
}

std::vector<std::uint64_t> TestMachine::movements() {
    MemorySystem& memory = machine_->memory();
    const PagerState& state = memory.state();
    const PagerStats& stats = state.stats;
    return {stats.faults.get(),
            stats.prefetched.get(),
            stats.swapped_out.get(),
            stats.swapped_in.get(),
            stats.rescued.get(),
            stats.zero_pages.get(),
            stats.kept.get(),
            stats.reclaim_passes.get(),
            memory.space().stats().batches.get(),
            state.budget.pages(),
            state.limbo->used(),
            state.compressed ? state.compressed->pages() : 0,
            state.slow.file() != nullptr ? state.slow.file()->pages() : 0};
}

bool TestMachine::pause_until_quiet() {
    machine_->pause();
    if (!wait_for(MachineState::paused)) return false;
    // Background reclaim goes on for a while after the last vCPU left the guest.
    constexpr int still = 5;
    int unchanged = 0;
    std::vector<std::uint64_t> before;
    return eventually([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds{20});
        const std::vector<std::uint64_t> now = movements();
        unchanged = now == before ? unchanged + 1 : 0;
        before = now;
        return unchanged == still;
    });
}

RunReport TestMachine::report() { return collect_report(*machine_); }

void expect_clean_end(TestMachine& machine) {
    const MachineStatus status = machine->status();
    ASSERT_EQ(status.state, MachineState::ended) << (status.error ? status.error->message() : "it still runs");
    EXPECT_FALSE(status.error.has_value()) << status.error->message();
    EXPECT_EQ(status.exit_status, std::uint64_t{0});
    const RunReport report = machine.report();
    EXPECT_EQ(report.guest.mismatches, 0U);
    EXPECT_GE(report.guest.min_verifications, 2U);
    EXPECT_EQ(report.accelerator.mismatches, 0U);
    EXPECT_EQ(report.memory.pinned_bytes, 0U);
    EXPECT_GT(report.pager.swapped_out_pages, 0U);
    EXPECT_LE(report.memory.peak_charged_bytes, report.memory.budget_bytes + report.memory.budget_bytes / 20);
    for (const auto& [name, table] : report.tables) EXPECT_EQ(table.stale_faults, 0U) << name;
}

void MachineTest::SetUp() {
    if (const Result<Kvm> kvm = Kvm::open(); !kvm) GTEST_SKIP() << kvm.error().message();
}

}  // namespace penumbra::vmm::test
