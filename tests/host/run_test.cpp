// The real binary running real guests: signals, failing storage, memory limits of the surroundings.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace penumbra {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using Words = std::vector<std::string>;

constexpr std::uint64_t mib = 1ULL << 20;

std::string contents_of(const fs::path& path) {
    std::ifstream file{path};
    return {std::istreambuf_iterator<char>{file}, {}};
}

template <class Fn>
[[nodiscard]] bool eventually(Fn&& fn, std::chrono::seconds limit = std::chrono::seconds{50}) {
    const auto deadline = Clock::now() + limit;
    while (!fn()) {
        if (Clock::now() > deadline) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds{10});
    }
    return true;
}

/// A run of the binary; ended with SIGKILL if the test leaves it running.
class Child {
public:
    Child(Words words, fs::path err, const std::vector<std::string>& extra_environment = {}) : err_(std::move(err)) {
        std::vector<std::string> environment{extra_environment};
        for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
        const auto pointers = [](std::vector<std::string>& strings) {
            std::vector<char*> all;
            for (std::string& string : strings) all.push_back(string.data());
            all.push_back(nullptr);
            return all;
        };
        posix_spawn_file_actions_t actions;
        ::posix_spawn_file_actions_init(&actions);
        ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
        ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, err_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        const int error = ::posix_spawn(&pid_, words.front().c_str(), &actions, nullptr, pointers(words).data(),
                                        pointers(environment).data());
        ::posix_spawn_file_actions_destroy(&actions);
        EXPECT_EQ(error, 0) << "cannot start " << words.front();
        if (error != 0) status_ = -1;
    }
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    ~Child() {
        if (status_) return;
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }

    void send(int signal) const { ::kill(pid_, signal); }
    [[nodiscard]] std::string err() const { return contents_of(err_); }
    [[nodiscard]] bool says(const std::string& part) const {
        return eventually([&] { return err().find(part) != std::string::npos; });
    }
    /// The exit status; -1 for a death by a signal or none in time.
    [[nodiscard]] int wait() {
        (void)eventually([&] {
            int wait_status = 0;
            if (!status_ && ::waitpid(pid_, &wait_status, WNOHANG) == pid_) {
                status_ = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;
            }
            return status_.has_value();
        });
        return status_.value_or(-1);
    }

private:
    fs::path err_;
    pid_t pid_ = 0;
    std::optional<int> status_;
};

class RunTest : public ::testing::Test {
protected:
    void SetUp() override {
        if (::access("/dev/kvm", R_OK | W_OK) != 0) GTEST_SKIP() << "cannot open /dev/kvm: " << std::strerror(errno);
        ASSERT_NE(::mkdtemp(folder_.data()), nullptr);
    }
    ~RunTest() override { fs::remove_all(folder_); }

    [[nodiscard]] std::string at(const std::string& name) const { return (fs::path{folder_} / name).string(); }
    [[nodiscard]] Words run_words(const Words& extra) const {
        Words words{PENUMBRA_BINARY, "run", "--image", PENUMBRA_GUEST_IMAGES "/churn", "--json", at("report")};
        words.insert(words.end(), extra.begin(), extra.end());
        return words;
    }
    [[nodiscard]] boost::json::object report() const {
        return boost::json::parse(contents_of(at("report"))).as_object();
    }

    std::string folder_ = (fs::temp_directory_path() / "penumbra-run-XXXXXX").string();
};

TEST_F(RunTest, InterruptEndsTheRunAtOnceAndStillLeavesTheReport) {
    Child child(run_words({"--memory", "64M", "--budget", "24M", "--swap", "lz4", "--swap", "file:" + at("swap"),
                           "--passes", "1000"}),
                at("err"));
    ASSERT_TRUE(child.says("pass 1/1000 sequential"));
    EXPECT_TRUE(fs::exists(at("swap")));
    const auto begin = Clock::now();
    child.send(SIGINT);
    EXPECT_EQ(child.wait(), 1) << child.err();
    EXPECT_LT(Clock::now() - begin, std::chrono::seconds{5});
    EXPECT_EQ(report().at("outcome").as_string(), "interrupted");
    EXPECT_FALSE(fs::exists(at("swap"))) << "the swap file stayed behind";
}

TEST_F(RunTest, CompressionThatCannotHoldTheMemoryIsWarnedAbout) {
    Child child(run_words({"--memory", "256M", "--budget", "16M", "--swap", "lz4", "--passes", "1"}), at("err"));
    EXPECT_TRUE(child.says("warning: --memory 256M will hardly fit --budget 16M by compression alone"));
    child.send(SIGINT);
    EXPECT_EQ(child.wait(), 1) << child.err();
}

/// A small file system of its own, or a reason why there is none.
class SmallDisk {
public:
    SmallDisk(std::string path, std::uint64_t bytes) : path_(std::move(path)) {
        fs::create_directory(path_);
        const std::string size = "size=" + std::to_string(bytes);
        mounted_ = ::mount("penumbra-test", path_.c_str(), "tmpfs", 0, size.c_str()) == 0;
        if (!mounted_) why_not_ = std::string{"cannot mount a small file system: "} + std::strerror(errno);
    }
    SmallDisk(const SmallDisk&) = delete;
    SmallDisk& operator=(const SmallDisk&) = delete;
    ~SmallDisk() {
        if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
    }
    [[nodiscard]] const std::string& why_not() const { return why_not_; }

private:
    std::string path_;
    std::string why_not_;
    bool mounted_ = false;
};

TEST_F(RunTest, FullDiskPausesTheRunAndItGoesOnOnceThereIsSpace) {
    const SmallDisk disk(at("disk"), 128 * mib);
    if (!disk.why_not().empty()) GTEST_SKIP() << disk.why_not();
    // Something else has taken the space that the guest needs.
    {
        const int fd = ::open(at("disk/other").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        ASSERT_GE(fd, 0);
        ASSERT_EQ(::fallocate(fd, 0, 0, static_cast<off_t>(112 * mib)), 0);
        ::close(fd);
    }
    Child child(run_words({"--memory", "64M", "--budget", "16M", "--swap", "file:" + at("disk/swap"), "--passes", "1"}),
                at("err"));
    ASSERT_TRUE(child.says("penumbra: machine paused: cannot")) << child.err();
    ASSERT_TRUE(child.says("kill -CONT")) << child.err();
    EXPECT_NE(child.err().find(at("disk/swap")), std::string::npos) << child.err();
    EXPECT_NE(child.err().find("No space left on device"), std::string::npos) << child.err();
    fs::remove(at("disk/other"));
    child.send(SIGCONT);
    EXPECT_EQ(child.wait(), 0) << child.err();
    EXPECT_EQ(report().at("outcome").as_string(), "ok");
    EXPECT_EQ(report().at("guest").at("mismatches").to_number<std::uint64_t>(), 0U);
}

/// A memory cgroup of its own below this process's, removed at the end.
class MemoryGroup {
public:
    explicit MemoryGroup(std::uint64_t limit) {
        const fs::path v1 = "/sys/fs/cgroup/memory";
        is_v1_ = fs::exists(v1 / "memory.limit_in_bytes");
        const fs::path root = is_v1_ ? v1 : fs::path{"/sys/fs/cgroup"};
        path_ = root / ("penumbra-test-" + std::to_string(::getpid()));
        std::error_code error;
        if (!fs::create_directory(path_, error)) {
            why_not_ = "cannot make a memory cgroup: " + error.message();
            return;
        }
        const bool limited = is_v1_ ? write("memory.limit_in_bytes", limit) && write("memory.swappiness", 0)
                                    : write("memory.max", limit) && write("memory.swap.max", 0);
        if (!limited) why_not_ = "cannot limit the memory of a cgroup below " + root.string();
    }
    MemoryGroup(const MemoryGroup&) = delete;
    MemoryGroup& operator=(const MemoryGroup&) = delete;
    ~MemoryGroup() {
        // Its last process may still be on its way out.
        EXPECT_TRUE(eventually([&] { return ::rmdir(path_.c_str()) == 0 || errno == ENOENT; })) << path_;
    }
    [[nodiscard]] const std::string& why_not() const { return why_not_; }
    [[nodiscard]] std::uint64_t peak_bytes() const {
        std::uint64_t bytes = 0;
        std::ifstream{path_ / (is_v1_ ? "memory.max_usage_in_bytes" : "memory.peak")} >> bytes;
        return bytes;
    }
    [[nodiscard]] std::string processes() const { return path_ / "cgroup.procs"; }

private:
    [[nodiscard]] bool write(const char* name, std::uint64_t value) const {
        std::ofstream file{path_ / name};
        return static_cast<bool>(file << value << std::flush);
    }
    fs::path path_;
    std::string why_not_;
    bool is_v1_ = false;
};

TEST_F(RunTest, RunStaysWithinAMemoryCgroupOfItsBudgetAndALittle) {
    // A sanitizer's own memory would be charged too: this is about the binary that users run.
    const fs::path released = fs::path{PENUMBRA_BINARY}.parent_path().parent_path() / "release/penumbra";
    if (!fs::exists(released)) GTEST_SKIP() << "no release build at " << released << ": ./x build release";
    constexpr std::uint64_t budget = 32 * mib;
    const MemoryGroup group(budget + 48 * mib);
    if (!group.why_not().empty()) GTEST_SKIP() << group.why_not();
    // The shell enters the group and becomes the program, so that every page it ever has is charged to the group.
    Words words{"/bin/sh", "-c", "echo $$ > \"$0\" && exec \"$@\"", group.processes()};
    Words run = run_words(
        {"--memory", "128M", "--budget", "32M", "--swap", "lz4", "--swap", "file:" + at("swap"), "--passes", "1"});
    run.front() = released;
    words.insert(words.end(), run.begin(), run.end());
    Child child(words, at("err"));
    EXPECT_EQ(child.wait(), 0) << child.err();
    EXPECT_EQ(report().at("outcome").as_string(), "ok");
    EXPECT_GT(report().at("pager").at("swapped_out_pages").to_number<std::uint64_t>(), 128 * mib / 4096);
    EXPECT_GT(group.peak_bytes(), budget) << "the run was not in the group";
}

}  // namespace
}  // namespace penumbra
