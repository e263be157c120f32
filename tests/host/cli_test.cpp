// Bad use of the real binary: one line on stderr that says the cure, exit status 2, nothing left behind.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace penumbra {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

struct Outcome {
    int status = -1;
    std::string out;
    std::string err;
};

/// Empty for devices, which may never end.
std::string contents_of(const fs::path& path) {
    if (!fs::is_regular_file(path)) return {};
    std::ifstream file{path};
    return {std::istreambuf_iterator<char>{file}, {}};
}

class CliTest : public ::testing::Test {
protected:
    CliTest() {
        EXPECT_NE(::mkdtemp(folder_.data()), nullptr);
        fs::create_directory(at("work"));
        std::ofstream{at("work/image")} << "an image";
    }
    ~CliTest() override { fs::remove_all(folder_); }

    [[nodiscard]] std::string at(const std::string& name) const { return (fs::path{folder_} / name).string(); }

    /// Runs the binary in the environment of this test, its output in files.
    [[nodiscard]] Outcome penumbra(Words words, std::string out_path = {}) const {
        if (out_path.empty()) out_path = at("out");
        words.insert(words.begin(), PENUMBRA_BINARY);
        std::vector<char*> arguments;
        for (std::string& word : words) arguments.push_back(word.data());
        arguments.push_back(nullptr);
        posix_spawn_file_actions_t actions;
        ::posix_spawn_file_actions_init(&actions);
        constexpr int make = O_WRONLY | O_CREAT | O_TRUNC;
        ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, out_path.c_str(), make, 0600);
        ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, at("err").c_str(), make, 0600);
        pid_t child = 0;
        const int spawned = ::posix_spawn(&child, PENUMBRA_BINARY, &actions, nullptr, arguments.data(), environ);
        ::posix_spawn_file_actions_destroy(&actions);
        EXPECT_EQ(spawned, 0) << "cannot start " << PENUMBRA_BINARY;
        if (spawned != 0) return {};
        int wait_status = 0;
        EXPECT_EQ(::waitpid(child, &wait_status, 0), child);
        return {WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1, contents_of(out_path), contents_of(at("err"))};
    }

    void expect_refused(const Words& words, const std::string& part) const {
        const Outcome outcome = penumbra(words);
        EXPECT_EQ(outcome.status, 2) << outcome.err;
        EXPECT_EQ(outcome.out, "");
        EXPECT_TRUE(outcome.err.starts_with("penumbra: cannot ")) << outcome.err;
        EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1) << outcome.err;
        EXPECT_TRUE(outcome.err.ends_with("\n")) << outcome.err;
        EXPECT_NE(outcome.err.find(": ", sizeof "penumbra: "), std::string::npos) << outcome.err;
        EXPECT_NE(outcome.err.find("; "), std::string::npos) << outcome.err;
        EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err;
        EXPECT_EQ(std::distance(fs::directory_iterator{at("work")}, {}), 1) << "something was left behind";
    }
    void expect_run_refused(const Words& extra, const std::string& part) const {
        Words words{"run", "--image", at("work/image")};
        words.insert(words.end(), extra.begin(), extra.end());
        expect_refused(words, part);
    }

    std::string folder_ = (fs::temp_directory_path() / "penumbra-cli-XXXXXX").string();
};

TEST_F(CliTest, HelpAndVersionAreGood) {
    for (const Words& words : {Words{"--help"}, Words{"run", "--help"}, Words{"doctor", "--help"}}) {
        const Outcome outcome = penumbra(words);
        EXPECT_EQ(outcome.status, 0);
        EXPECT_EQ(outcome.err, "");
        EXPECT_NE(outcome.out.find("Examples:"), std::string::npos);
        EXPECT_NE(outcome.out.find("Exit status: 0"), std::string::npos);
    }
    EXPECT_TRUE(penumbra({"--version"}).out.starts_with("penumbra "));
}

TEST_F(CliTest, HelpThatCannotBeWrittenIsNotGood) { EXPECT_EQ(penumbra({"--help"}, "/dev/full").status, 1); }

TEST_F(CliTest, UnknownWordsAreRefusedWithAHint) {
    expect_refused({}, "penumbra --help");
    expect_refused({"fly"}, "the commands are");
    expect_refused({"--fly"}, "unknown option");
    expect_refused({"run", "--fly"}, "penumbra run --help");
    expect_refused({"doctor", "--fly"}, "penumbra doctor --help");
    expect_run_refused({"extra"}, "'extra'");
    expect_run_refused({"doctor"}, "'doctor'");
    expect_run_refused({"--memory"}, "--memory");
    expect_run_refused({"--memory", ""}, "--memory");
    expect_run_refused({"--cpus", "1", "--cpus", "2"}, "--cpus");
    expect_refused({"fl\ny\x1b[2J"}, "fl?y?");
}

TEST_F(CliTest, BadImagesAreRefused) {
    expect_refused({"run"}, "--image");
    expect_refused({"run", "--image", at("missing")}, "No such file or directory");
    expect_refused({"run", "--image", at("work")}, "Is a directory");
    expect_refused({"run", "--image", at("mis\nsing")}, "No such file");
}

TEST_F(CliTest, BadSizesAndNumbersAreRefused) {
    for (const char* size : {"0", "12Q", "-1G", "1.5G", "16777217", "8M", "65G", "99999999999999999999G"}) {
        expect_run_refused({"--memory", size}, "--memory");
    }
    for (const char* size : {"0", "4095", "12M", "512M"}) expect_run_refused({"--budget", size}, "--budget");
    for (const char* cpus : {"0", "-1", "65", "two", "4294967297"}) expect_run_refused({"--cpus", cpus}, "--cpus");
    for (const char* time : {"-1", "soon", "99999999999999999999"}) expect_run_refused({"--time", time}, "--time");
    expect_run_refused({"--ring", "1"}, "give 0 or 3");
    expect_run_refused({"--stale-faults", "maybe"}, "count or fatal");
}

TEST_F(CliTest, BadTiersAreRefused) {
    expect_run_refused({"--swap", "zst"}, "the known tiers are lz4, zstd, file:PATH and redis://HOST");
    expect_run_refused({"--swap", "lz4", "--swap", "zstd"}, "choose one");
    expect_run_refused({"--swap", "lz4", "--swap", "lz4"}, "twice");
    expect_run_refused({"--swap", "file:" + at("work/a"), "--swap", "file:" + at("work/b")}, "twice");
    expect_run_refused({"--swap", "file:"}, "path is empty");
    expect_run_refused({"--swap", "file:" + at("missing/swap")}, "No such file or directory");
    expect_run_refused({"--swap", "file:" + at("work")}, "Is a directory");
    expect_run_refused({"--swap", "file:/dev/null"}, "not a regular file");
    expect_run_refused({"--swap", "file:/proc/swap"}, "cannot swap to /proc/swap");
    expect_run_refused({"--swap", "file:" + at("work/image")}, "has contents");
}

TEST_F(CliTest, BadOutputsAreRefused) {
    expect_run_refused({"--json", at("missing/out.json")}, "No such file or directory");
    expect_run_refused({"--json", at("work")}, "Is a directory");
    expect_run_refused({"--json", at("work/image")}, "the same file");
    expect_run_refused({"--qmp", "tcp:localhost"}, "unix:PATH");
    expect_run_refused({"--qmp", "unix:" + at("work/image")}, "something is there");
    expect_run_refused({"--qmp", "unix:" + at(std::string(120, 'x'))}, "longer than");
}

TEST_F(CliTest, DoctorAnswersForPeopleAndForPrograms) {
    const Outcome people = penumbra({"doctor"});
    EXPECT_TRUE(people.status == 0 || people.status == 1) << people.err;
    EXPECT_NE(people.out.find("userfaultfd"), std::string::npos);
    EXPECT_EQ(people.out.find('\x1b'), std::string::npos);
    const Outcome programs = penumbra({"doctor", "--json", "--swap", "file:" + at("work/swap")});
    EXPECT_EQ(programs.status, people.status);
    EXPECT_TRUE(programs.out.starts_with("{\n  \"can_run\": ")) << programs.out;
    EXPECT_NE(programs.out.find("O_DIRECT"), std::string::npos);
    EXPECT_FALSE(fs::exists(at("work/swap")));
}

}  // namespace
}  // namespace penumbra
