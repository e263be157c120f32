// Bad kernels, RAM disks, disks and networks given to the real binary: one line on stderr that says cause and cure,
// exit status 2, nothing left behind.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/disk_image.hpp"
#include "tests/support/loop_device.hpp"
#include "tests/support/pc_guest.hpp"
#include "tests/unit/linux_files.hpp"

namespace penumbra::test {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

class CliLinux : public testing::Test {
protected:
    CliLinux() {
        EXPECT_NE(::mkdtemp(folder_.data()), nullptr);
        put("kernel", pc_guest::kernel());
        put("disk", std::string(1U << 20, '\0'));
    }
    ~CliLinux() override { fs::remove_all(folder_); }

    [[nodiscard]] std::string at(const std::string& name) const { return folder_ + "/" + name; }
    std::string put(const std::string& name, const std::string& contents) const {
        std::ofstream file{at(name), std::ios::binary};
        file << contents << std::flush;
        EXPECT_TRUE(file.good()) << name;
        return at(name);
    }
    [[nodiscard]] std::set<std::string> files() const {
        std::set<std::string> all;
        for (const auto& entry : fs::directory_iterator(folder_)) all.insert(entry.path().filename());
        return all;
    }
    [[nodiscard]] Words words(const Words& extra, const std::string& kernel = {}) const {
        Words all{PENUMBRA_BINARY, "run", "--kernel", kernel.empty() ? at("kernel") : kernel,
                  "--append",      "e",   "--memory", "32M",
                  "--budget",      "32M"};
        all.insert(all.end(), extra.begin(), extra.end());
        return all;
    }
    /// Status 2, nothing on stdout, and on stderr one line that holds `cause` and, behind it, `cure`.
    void expect_refused(const Words& all, const std::string& cause, const std::string& cure) const {
        const std::set<std::string> before = files();
        Pipe out;
        Pipe err;
        Child child(all, {.in = -1, .out = out.to.get(), .err = err.to.get(), .terminal = {}});
        out.to.reset();
        err.to.reset();
        EXPECT_EQ(child.wait(), 2) << cause;
        Hearer heard(out.from.get());
        Hearer complaint(err.from.get());
        EXPECT_TRUE(heard.hears_the_end() && complaint.hears_the_end());
        EXPECT_EQ(heard.heard(), "");
        const std::string& line = complaint.heard();
        EXPECT_TRUE(line.starts_with("penumbra: cannot ")) << line;
        EXPECT_EQ(std::ranges::count(line, '\n'), 1) << line;
        const std::size_t cure_at = line.find("; ");
        ASSERT_NE(cure_at, std::string::npos) << "no cure: " << line;
        EXPECT_NE(line.substr(0, cure_at).find(cause), std::string::npos) << line;
        EXPECT_NE(line.substr(cure_at).find(cure), std::string::npos) << line;
        EXPECT_EQ(files(), before) << "something was left behind";
    }
    void expect_kernel_refused(const std::string& path, const std::string& cause, const std::string& cure) const {
        expect_refused(words({}, path), cause, cure);
    }
    void expect_disk_refused(const std::string& disk, const std::string& cause, const std::string& cure) const {
        expect_refused(words({"--disk", disk}), cause, cure);
    }

    std::string folder_ = (fs::temp_directory_path() / "penumbra-cli-linux-XXXXXX").string();
};

/// Of those that need a machine to be made.
class CliMachine : public CliLinux {
protected:
    void SetUp() override {
        if (::access("/dev/kvm", R_OK | W_OK) != 0) GTEST_SKIP() << "cannot open /dev/kvm: " << std::strerror(errno);
    }
};

TEST_F(CliLinux, KernelsAndRamDisksThatAreNoFiles) {
    for (const std::string option : {"--kernel", "--initrd"}) {
        const auto refused = [&](const std::string& path, const std::string& cause) {
            const Words all = option == "--kernel" ? words({}, path) : words({option, path});
            expect_refused(all, cause, "");
        };
        refused(at("missing"), at("missing") + ": No such file or directory");
        refused(at("missing/er"), "No such file or directory");
        refused(at("kernel/er"), "Not a directory");
        refused(folder_, "Is a directory");
        refused(put("empty", ""), "empty");
        refused("/dev/zero", "not a regular file");
    }
}

TEST_F(CliMachine, KernelsThatAreDamaged) {
    std::mt19937 random{3};
    std::string noise(8192, '\0');
    for (char& byte : noise) byte = static_cast<char>(random());
    expect_kernel_refused(put("noise", noise), at("noise"), "");
    expect_kernel_refused(put("text", "#!/bin/sh\n"), at("text"), "");

    const std::string elf = pc_guest::kernel();
    for (const std::size_t bytes : {5UL, 40UL, 64UL, 100UL, 4096UL, elf.size() - 1}) {
        expect_kernel_refused(put("cut-elf", elf.substr(0, bytes)), at("cut-elf"), "copy or build it again");
    }
    const std::string image = vmm::test::TinyBzImage{}.bytes();
    for (const std::size_t bytes : {300UL, 0x1F1UL, 0x260UL, 1024UL, image.size() - 1}) {
        expect_kernel_refused(put("cut-image", image.substr(0, bytes)), at("cut-image"), "");
    }
    vmm::test::TinyElf huge;
    huge.segments[1].p_memsz = 1U << 30;
    expect_kernel_refused(put("huge", huge.bytes()), at("huge"), "at least 1028 MiB");
}

TEST_F(CliMachine, ARamDiskThatDoesNotFit) {
    const std::string path = put("initrd", "");
    fs::resize_file(path, 64U << 20);
    expect_refused(words({"--initrd", path}), path, "at least 66 MiB");
    fs::resize_file(path, 1ULL << 40);
    expect_refused(words({"--initrd", path}), path, "name a smaller one");
}

TEST_F(CliMachine, AKernelThatShrinksWhileItsGuestRunsEndsTheRunAtTheNextReset) {
    Pipe in;
    Pipe out;
    Pipe err;
    Words all = words({});
    *std::ranges::find(all, "e") = "t";
    Child child(all, {.in = in.from.get(), .out = out.to.get(), .err = err.to.get(), .terminal = {}});
    Hearer console(out.from.get());
    ASSERT_TRUE(console.hears("state "));
    fs::resize_file(at("kernel"), 4096);
    ASSERT_EQ(::write(in.to.get(), "r", 1), 1);
    EXPECT_EQ(child.wait(), 1);
    err.to.reset();
    Hearer complaint(err.from.get());
    EXPECT_TRUE(complaint.hears_the_end());
    EXPECT_NE(complaint.heard().find("it shrank meanwhile"), std::string::npos) << complaint.heard();
    EXPECT_NE(complaint.heard().find(at("kernel")), std::string::npos) << complaint.heard();
    EXPECT_EQ(std::ranges::count(complaint.heard(), '\n'), 1) << complaint.heard();
}

TEST_F(CliMachine, DisksThatAreNone) {
    expect_disk_refused(at("missing"), at("missing") + ": No such file or directory", "truncate -s");
    expect_disk_refused(folder_, "Is a directory", "name a file or a block device");
    expect_disk_refused(put("empty", ""), "it is empty", "truncate -s");
    expect_disk_refused(put("odd", std::string(1000, 'x')), "1000 bytes, is not a multiple of 512", "truncate -s %512");
    expect_disk_refused("/dev/null", "neither a file nor a block device", "name a file");
    ASSERT_EQ(::mkfifo(at("pipe").c_str(), 0600), 0);
    expect_disk_refused(at("pipe"), "neither a file nor a block device", "name a file");
    expect_disk_refused(at("kernel") + "/below", "Not a directory", "check the path");
}

TEST_F(CliMachine, ADeviceThatMayNotBeWritten) {
    const DiskImage image(1U << 20);
    const LoopDevice loop(image, 512);
    if (loop.path().empty()) GTEST_SKIP() << "this user may not make a loop device";
    const UniqueFd device(::open(loop.path().c_str(), O_RDONLY | O_CLOEXEC));
    const int yes = 1;
    ASSERT_EQ(::ioctl(device.get(), BLKROSET, &yes), 0) << std::strerror(errno);
    expect_disk_refused(loop.path(), loop.path() + ": ", "add ,readonly");
    Words reader = words({"--disk", loop.path() + ",readonly"});
    *std::ranges::find(reader, "e") = "o";
    Child child(reader, {});
    EXPECT_EQ(child.wait(), 0) << "it may be read";
}

TEST_F(CliMachine, AFileOnAReadOnlyFileSystem) {
    fs::create_directory(at("mount"));
    if (::mount("penumbra-test", at("mount").c_str(), "tmpfs", 0, "size=2m") != 0) {
        GTEST_SKIP() << "this user may not mount a file system: " << std::strerror(errno);
    }
    put("mount/disk", std::string(1U << 20, '\0'));
    EXPECT_EQ(::mount(nullptr, at("mount").c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr), 0);
    expect_disk_refused(at("mount/disk"), "Read-only file system", "make it writable for this user, or add ,readonly");
    EXPECT_EQ(::umount2(at("mount").c_str(), MNT_DETACH), 0);
}

TEST_F(CliMachine, ADeviceThatAnotherProcessHas) {
    const DiskImage image(1U << 20);
    const LoopDevice loop(image, 512);
    if (loop.path().empty()) GTEST_SKIP() << "this user may not make a loop device";
    const UniqueFd device(::open(loop.path().c_str(), O_RDWR | O_EXCL | O_CLOEXEC));
    ASSERT_TRUE(device) << std::strerror(errno);
    expect_disk_refused(loop.path(), "busy", "give it free, or add ,readonly");
}

TEST_F(CliMachine, TwoMachinesHaveNoDiskInCommonUnlessBothOnlyReadIt) {
    const std::string shared = at("disk");
    for (const std::string first : {"", ",readonly"}) {
        Pipe in;
        Pipe out;
        Child child(words({"--disk", shared + first}),
                    {.in = in.from.get(), .out = out.to.get(), .err = -1, .terminal = {}});
        Hearer console(out.from.get());
        ASSERT_TRUE(console.hears("ready"));
        expect_disk_refused(shared, shared + ": another process or disk has it locked", "end the other VM");
        if (first.empty()) {
            expect_disk_refused(shared + ",readonly", "has it locked", "end the VM that writes to it");
        } else {
            Words beside = words({"--disk", shared + ",readonly"});
            *std::ranges::find(beside, "e") = "o";
            Child second(beside, {});
            EXPECT_EQ(second.wait(), 0) << "both only read";
        }
        child.send(SIGTERM);
        EXPECT_EQ(child.wait(), 1) << "the first one was not disturbed";
    }
}

TEST_F(CliMachine, ADiskGivenTwiceIsWrittenByNobody) {
    fs::create_symlink("disk", at("link"));
    for (const std::string second : {"disk", "disk,readonly", "disk,mmio", "link"}) {
        expect_refused(words({"--disk", at("disk"), "--disk", at(second)}), "another process or disk has it locked",
                       "a");
    }
}

TEST_F(CliMachine, NetworksThatAreNotThere) {
    expect_refused(words({"--net", "tap:nosuchtap0"}), "nosuchtap0", "");
    expect_refused(words({"--net", "tap:lo"}), "lo", "");
}

TEST_F(CliLinux, WordsThatMeanNothing) {
    expect_refused(words({"--disk", at("disk") + ",fast"}), "unknown 'fast'", "readonly, direct and mmio");
    expect_refused(words({"--disk", ",readonly"}), "the path is empty", "--disk PATH");
    expect_refused(words({"--net", "bridge"}), "bridge", "");
    expect_refused(words({"--net", "tap:"}), "tap:", "");
    expect_refused(words({"--json", at("disk"), "--disk", at("disk")}), "the same file", "its own file");
    Words many;
    for (int i = 0; i < 40; ++i) many.insert(many.end(), {"--disk", at("disk") + ",readonly"});
    expect_refused(words(many), "40 devices", "fewer");
    expect_refused(words({"--image", at("kernel")}), "--image", "");
    Words no_kernel{PENUMBRA_BINARY, "run", "--initrd", at("kernel")};
    expect_refused(no_kernel, "--initrd", "");
    expect_refused({PENUMBRA_BINARY, "run", "--disk", at("disk"), "--loader", folder_}, "no loader", "--kernel FILE");
}

}  // namespace
}  // namespace penumbra::test
