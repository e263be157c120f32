// An unmodified Linux kernel on whatever KVM this machine has: it boots to its first process, which fills memory that
// does not fit the budget and checks it. Where KVM interprets ring 0, the VMM has to finish some of its instructions.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace penumbra {
namespace {

namespace fs = std::filesystem;

std::string text_of(const fs::path& path) {
    std::ifstream file{path};
    return {std::istreambuf_iterator<char>{file}, {}};
}

std::string quoted(const std::string& word) { return "'" + word + "'"; }

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

    int run(const std::string& image, const std::string& init, const std::string& options) {
        std::string words = text_of(kernel_ / "cmdline");
        while (!words.empty() && words.back() == '\n') words.pop_back();
        const std::string command =
            quoted(PENUMBRA_BINARY) + " run --kernel " + quoted(kernel_ / image) + " --initrd " +
            quoted(kernel_ / "initrd") + " --append " + quoted(words + " rdinit=/" + init) + " --no-reboot --json " +
            quoted(scratch_ / "report") + " " + options + " </dev/null >" + quoted(scratch_ / "console") + " 2>&1";
        const int status = std::system(command.c_str());
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }
    [[nodiscard]] std::string console() const { return text_of(scratch_ / "console"); }
    [[nodiscard]] boost::json::object report() const {
        return boost::json::parse(text_of(scratch_ / "report")).as_object();
    }

    fs::path kernel_;
    fs::path scratch_;
};

TEST_F(TinyKernelTest, BootsToItsFirstProcessWhichFindsItsMemoryRightUnderOvercommit) {
    ASSERT_EQ(run("vmlinux", "fill-32", "--memory 64M --budget 32M --swap lz4 --stale-faults fatal"), 0) << console();
    EXPECT_NE(console().find("Run /fill-32 as init process"), std::string::npos) << console();
    // The first process has no system calls everywhere: it ends by an exception whose number says what it found.
    EXPECT_NE(console().find("exitcode=0x00000004"), std::string::npos) << console();
    const boost::json::object told = report();
    EXPECT_EQ(told.at("outcome").as_string(), "reset");
    EXPECT_EQ(told.at("memory").at("pinned_bytes").to_number<std::uint64_t>(), 0U);
    EXPECT_GT(told.at("pager").at("swapped_out_pages").to_number<std::uint64_t>(), 1000U)
        << "the budget was never short";
}

}  // namespace
}  // namespace penumbra
