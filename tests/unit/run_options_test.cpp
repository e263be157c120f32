#include "vmm/control/run_options.hpp"

#include <gtest/gtest.h>

#include "tests/unit/run_options_fixture.hpp"

namespace penumbra::vmm {
namespace {

TEST_F(RunOptionsTest, DefaultsFillWhatWasNotGiven) {
    const RunOptions options = parse_run_options({}).value();
    EXPECT_EQ(options.memory_bytes, gib);
    EXPECT_EQ(options.budget_bytes, gib);
    EXPECT_EQ(options.cpus, 1U);
    EXPECT_EQ(options.ring, GuestRing::ring3);
    EXPECT_EQ(options.backend, Backend::kvm);
    EXPECT_EQ(options.take_out, TakeOutMode::move);
    EXPECT_EQ(options.stale_faults, StaleFaults::count);
    EXPECT_TRUE(options.swap.empty());
    RunArguments small;
    small.memory = "64M";
    EXPECT_EQ(parse_run_options(small).value().budget_bytes, 64 * mib);
}

TEST_F(RunOptionsTest, TiersAreOrderedAndGivenOnce) {
    RunArguments arguments;
    arguments.swap = {"file:/a:b", "lz4"};
    const RunOptions options = parse_run_options(arguments).value();
    EXPECT_EQ(options.swap, (std::vector<SwapTier>{{SwapKind::lz4, ""}, {SwapKind::file, "/a:b"}}));
    for (const std::vector<std::string>& twice :
         {std::vector<std::string>{"lz4", "lz4"}, {"file:/a", "file:/b"}, {"file:/a", "lz4", "file:/a"}}) {
        arguments.swap = twice;
        EXPECT_FALSE(parse_run_options(arguments));
    }
    arguments.swap = {"redis://store:7000", "file:/a", "zstd"};
    EXPECT_EQ(parse_run_options(arguments).value().swap,
              (std::vector<SwapTier>{
                  {SwapKind::zstd, ""}, {SwapKind::file, "/a"}, {SwapKind::remote, "redis://store:7000"}}));
    arguments.swap = {"zstd", "lz4"};
    EXPECT_FALSE(parse_run_options(arguments)) << "one codec";
    arguments.swap = {"redis://"};
    EXPECT_FALSE(parse_run_options(arguments));
    for (const char* unknown : {"zst", "redis", "", "file:", "LZ4", "lz4:", "file"}) {
        arguments.swap = {unknown};
        const auto refused = parse_run_options(arguments);
        ASSERT_FALSE(refused) << unknown;
        EXPECT_NE(refused.error().message().find("file:PATH"), std::string::npos);
    }
}

TEST_F(RunOptionsTest, WordsThatAreNotValuesAreRefused) {
    const auto refused = [](std::string RunArguments::* word, const char* text) {
        RunArguments arguments;
        arguments.*word = text;
        return !parse_run_options(arguments);
    };
    EXPECT_TRUE(refused(&RunArguments::memory, "lots"));
    EXPECT_TRUE(refused(&RunArguments::budget, "1T"));
    EXPECT_TRUE(refused(&RunArguments::cpus, "0"));
    EXPECT_TRUE(refused(&RunArguments::cpus, "65"));
    EXPECT_TRUE(refused(&RunArguments::time, "-1"));
    EXPECT_TRUE(refused(&RunArguments::ring, "1"));
    EXPECT_TRUE(refused(&RunArguments::stale_faults, "maybe"));
    EXPECT_TRUE(refused(&RunArguments::qmp, "tcp:1"));
    EXPECT_TRUE(refused(&RunArguments::qmp, "unix:"));
    EXPECT_TRUE(refused(&RunArguments::fault_workers, "0"));
    EXPECT_TRUE(refused(&RunArguments::seed, "x"));
    EXPECT_TRUE(refused(&RunArguments::changes, "0"));
    EXPECT_TRUE(refused(&RunArguments::svm, "sometimes"));
}

TEST_F(RunOptionsTest, SharedMemoryNeedsTheAccelerator) {
    RunArguments arguments;
    arguments.svm = "cooperative";
    arguments.changes = "5000";
    const auto refused = parse_run_options(arguments);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message().find("--accel"), std::string::npos);
    arguments.accelerator = true;
    const auto options = parse_run_options(arguments);
    ASSERT_TRUE(options);
    EXPECT_EQ(options->svm_mode, SvmMode::cooperative);
    EXPECT_EQ(options->svm_changes, 5000U);
    arguments.svm = "watch";
    EXPECT_EQ(parse_run_options(arguments)->svm_mode, SvmMode::watch);
    arguments.kernel = "/a/kernel";
    EXPECT_FALSE(parse_run_options(arguments)) << "a Linux guest has no such option";
}

TEST_F(RunOptionsTest, GoodOptionsPassAndLeaveNothing) {
    RunOptions options = good();
    options.budget_bytes = 512 * mib;
    options.swap = {{SwapKind::lz4, ""}, {SwapKind::file, at("swap")}};
    options.json_path = at("out.json");
    options.qmp_path = at("socket");
    const auto before = entries();
    const auto checked = validate(options);
    ASSERT_TRUE(checked) << checked.error().message();
    EXPECT_TRUE(checked->notes.empty());
    EXPECT_EQ(checked->options.passes, 1U);
    EXPECT_EQ(entries(), before);
}

TEST_F(RunOptionsTest, SizesOutOfRangeAreRefused) {
    const auto memory = [](std::uint64_t bytes) {
        return [bytes](RunOptions& o) { o.memory_bytes = o.budget_bytes = bytes; };
    };
    expect_refused(memory(0), "zero");
    expect_refused(memory(gib + 1), "not whole pages");
    expect_refused(memory(16 * mib - page_bytes), "too small");
    expect_refused(memory(64 * gib + page_bytes), "more than a guest");
    expect_refused([](RunOptions& o) { o.budget_bytes = 0; }, "--budget 0");
    expect_refused([](RunOptions& o) { o.budget_bytes = 512 * mib + 1; }, "not whole pages");
    expect_refused([](RunOptions& o) { o.budget_bytes = 16 * mib - page_bytes; }, "give at least 16M");
    expect_refused(
        [](RunOptions& o) {
            o.memory_bytes = 64 * gib;
            o.budget_bytes = gib - page_bytes;
        },
        "give at least 1G");
    expect_refused([](RunOptions& o) { o.budget_bytes = 512 * mib; }, "nowhere to swap");
    EXPECT_TRUE(validate([this] {
        RunOptions o = good();
        o.memory_bytes = o.budget_bytes = 16 * mib;
        return o;
    }()));
}

TEST_F(RunOptionsTest, ABudgetAboveMemoryIsClampedAndSaid) {
    RunOptions options = good();
    options.memory_bytes = 64 * mib;
    options.budget_bytes = gib;
    const auto checked = validate(options);
    ASSERT_TRUE(checked);
    EXPECT_EQ(checked->options.budget_bytes, 64 * mib);
    ASSERT_EQ(checked->notes.size(), 1U);
    EXPECT_NE(checked->notes[0].find("using 64M"), std::string::npos);
}

TEST_F(RunOptionsTest, CompressionAloneIsWarnedAboutWhenItCannotHold) {
    const auto notes = [this](std::uint64_t budget, std::vector<SwapTier> swap) {
        RunOptions options = good();
        options.memory_bytes = 900 * mib;
        options.budget_bytes = budget;
        options.swap = std::move(swap);
        return validate(options).value().notes;
    };
    EXPECT_TRUE(notes(500 * mib, {{SwapKind::lz4, ""}}).empty());
    const auto warned = notes(500 * mib - page_bytes, {{SwapKind::lz4, ""}});
    ASSERT_EQ(warned.size(), 1U);
    EXPECT_NE(warned[0].find("add --swap file:PATH"), std::string::npos);
    EXPECT_TRUE(notes(100 * mib, {{SwapKind::lz4, ""}, {SwapKind::file, at("swap")}}).empty());
}

}  // namespace
}  // namespace penumbra::vmm
