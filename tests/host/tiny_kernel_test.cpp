// An unmodified Linux kernel on whatever KVM this machine has: it boots to its first process, which fills memory that
// does not fit the budget and checks it; on the way it is stopped and goes on. Where KVM interprets ring 0, the VMM has
// to finish some of its instructions.
#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/child_process.hpp"
#include "tests/unit/qmp_client.hpp"

namespace penumbra {
namespace {

namespace fs = std::filesystem;

std::string text_of(const fs::path& path) {
    std::ifstream file{path};
    return {std::istreambuf_iterator<char>{file}, {}};
}

/// `./x test` has the kernel made and says where it is.
class TinyKernelTest : public testing::Test {
protected:
    void SetUp() override {
        const char* folder = std::getenv("PENUMBRA_TINY_KERNEL");
        if (folder == nullptr) {
            GTEST_SKIP() << "no kernel: set PENUMBRA_TINY_KERNEL to what `guest-images/linux/make tiny-kernel` prints";
        }
        if (!fs::exists("/dev/kvm")) GTEST_SKIP() << "no /dev/kvm on this machine";
        kernel_ = folder;
        scratch_ = fs::path(testing::TempDir()) / ("tiny-kernel-" + std::to_string(::getpid()));
        fs::create_directories(scratch_);
    }
    void TearDown() override {
        if (!scratch_.empty()) fs::remove_all(scratch_);
    }

    [[nodiscard]] std::vector<std::string> words(const std::string& init) const {
        std::string line = text_of(kernel_ / "cmdline");
        while (!line.empty() && line.back() == '\n') line.pop_back();
        return {PENUMBRA_BINARY, "run",
                "--kernel",      kernel_ / "vmlinux",
                "--initrd",      kernel_ / "initrd",
                "--append",      line + " rdinit=/" + init,
                "--json",        scratch_ / "report",
                "--qmp",         "unix:" + (scratch_ / "qmp").string(),
                "--memory",      "64M",
                "--budget",      "32M",
                "--swap",        "lz4",
                "--no-reboot",   "--stale-faults",
                "fatal"};
    }
    /// Stops the guest for a second, in which it must not say a word.
    void stop_and_go_on(test::Hearer& console) const {
        vmm::QmpClient control(scratch_ / "qmp");
        control.begin();
        EXPECT_TRUE(control.ask("{\"execute\":\"stop\"}\r\n").contains("return"));
        // Its vCPU is in the middle of something, and what it said may be on its way.
        std::this_thread::sleep_for(std::chrono::milliseconds{300});
        ASSERT_TRUE(console.look());
        const std::size_t heard = console.heard().size();
        std::this_thread::sleep_for(std::chrono::seconds{1});
        EXPECT_TRUE(console.look());
        EXPECT_EQ(console.heard().substr(heard), "") << "it speaks while it is stopped";
        const boost::json::object status = control.ask("{\"execute\":\"query-status\"}\r\n");
        EXPECT_EQ(status.at("return").at("status").as_string(), "paused");
        EXPECT_TRUE(control.ask("{\"execute\":\"cont\"}\r\n").contains("return"));
    }
    [[nodiscard]] boost::json::object report() const {
        return boost::json::parse(text_of(scratch_ / "report")).as_object();
    }

    fs::path kernel_;
    fs::path scratch_;
};

TEST_F(TinyKernelTest, BootsToItsFirstProcessWhichFindsItsMemoryRightUnderOvercommit) {
    test::Pipe out;
    test::Child child(words("fill-32"), {.in = -1, .out = out.to.get(), .err = out.to.get(), .terminal = {}});
    out.to.reset();
    test::Hearer console(out.from.get());
    ASSERT_TRUE(console.hears("Memory: ", std::chrono::seconds{100})) << console.heard();
    ASSERT_NO_FATAL_FAILURE(stop_and_go_on(console));
    EXPECT_TRUE(console.hears_the_end(std::chrono::seconds{280})) << console.heard();
    EXPECT_EQ(child.wait(), 0) << console.heard();
    EXPECT_NE(console.heard().find("Run /fill-32 as init process"), std::string::npos) << console.heard();
    // The first process has no system calls everywhere: it ends by an exception whose number says what it found.
    EXPECT_NE(console.heard().find("exitcode=0x00000004"), std::string::npos) << console.heard();
    const boost::json::object told = report();
    EXPECT_EQ(told.at("outcome").as_string(), "reset");
    EXPECT_EQ(told.at("memory").at("pinned_bytes").to_number<std::uint64_t>(), 0U);
    EXPECT_GT(told.at("pager").at("swapped_out_pages").to_number<std::uint64_t>(), 1000U)
        << "the budget was never short";
}

}  // namespace
}  // namespace penumbra
