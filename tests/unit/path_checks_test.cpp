#include "vmm/control/path_checks.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/run_options_fixture.hpp"

namespace penumbra::vmm {
namespace {

namespace fs = std::filesystem;

using PathChecksTest = RunOptionsTest;

TEST_F(PathChecksTest, ImagesThatCannotBeReadAreRefused) {
    std::ofstream{at("empty")};
    ASSERT_EQ(::mkfifo(at("pipe").c_str(), 0600), 0);
    expect_refused([](RunOptions& o) { o.image.clear(); }, "no --kernel or --image");
    expect_refused([this](RunOptions& o) { o.image = at("missing"); }, "No such file");
    expect_refused([this](RunOptions& o) { o.image = folder_; }, "Is a directory");
    expect_refused([this](RunOptions& o) { o.image = at("empty"); }, "empty");
    expect_refused([this](RunOptions& o) { o.image = at("pipe"); }, "not a regular file");
    expect_refused([this](RunOptions& o) { o.payload = {at("missing")}; }, "read the payload");
    RunOptions threads = good();
    threads.image.clear();
    threads.backend = Backend::host_threads;
    EXPECT_TRUE(validate(threads));
}

TEST_F(PathChecksTest, PermissionsAreRespected) {
    fs::create_directory(at("closed"));
    ASSERT_EQ(::chmod(at("closed").c_str(), 0500), 0);
    ASSERT_EQ(::chmod(at("image").c_str(), 0), 0);
    const auto check = [this] {
        // Permissions do not bind root: a child goes on as nobody.
        constexpr uid_t nobody = 65534;
        if (::geteuid() == 0 &&
            (::setresgid(nobody, nobody, nobody) != 0 || ::setresuid(nobody, nobody, nobody) != 0)) {
            return 2;
        }
        expect_refused([](RunOptions&) {}, "Permission denied");
        if (::chmod(at("image").c_str(), 0400) != 0) return 3;
        expect_refused([this](RunOptions& o) { o.json_path = at("closed/out.json"); }, "Permission denied");
        expect_refused([this](RunOptions& o) { o.swap = {{SwapKind::file, at("closed/swap")}}; }, "Permission denied");
        return HasFailure() ? 1 : 0;
    };
    if (::geteuid() == 0) {
        constexpr uid_t nobody = 65534;
        for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
            ASSERT_EQ(::lchown(entry.path().c_str(), nobody, nobody), 0);
        }
        ASSERT_EQ(::lchown(folder_.c_str(), nobody, nobody), 0);
    }
    EXPECT_EXIT(std::_Exit(check()), ::testing::ExitedWithCode(0), "");
}

TEST_F(PathChecksTest, SwapPathsThatCannotBeUsedAreRefused) {
    const auto swap = [](std::string path) { return [path](RunOptions& o) { o.swap = {{SwapKind::file, path}}; }; };
    expect_refused(swap(at("missing/swap")), "No such file");
    expect_refused(swap(at("image/swap")), "Not a directory");
    expect_refused(swap(folder_), "Is a directory");
    expect_refused(swap("/dev/null"), "not a regular file");
    expect_refused(swap("/proc/swap"), "/proc/swap: ");
    expect_refused(swap(at("payload")), "has contents");
    std::ofstream{at("fresh")};
    RunOptions options = good();
    options.swap = {{SwapKind::file, at("fresh")}};
    EXPECT_TRUE(validate(options));
}

TEST_F(PathChecksTest, OutputsThatCannotBeWrittenAreRefused) {
    expect_refused([this](RunOptions& o) { o.json_path = at("missing/out.json"); }, "No such file");
    expect_refused([this](RunOptions& o) { o.json_path = folder_; }, "Is a directory");
    expect_refused([](RunOptions& o) { o.json_path = "/dev/full"; }, "not a regular file");
    expect_refused([this](RunOptions& o) { o.json_path = at("image"); }, "the same file");
    expect_refused(
        [this](RunOptions& o) {
            o.json_path = at("./both");
            o.swap = {{SwapKind::file, at("both")}};
        },
        "the same file");
    expect_refused([this](RunOptions& o) { o.qmp_path = at("image"); }, "something is there");
    expect_refused([this](RunOptions& o) { o.qmp_path = at(std::string(120, 'x')); }, "longer than 107");
    expect_refused([this](RunOptions& o) { o.qmp_path = at("missing/socket"); }, "No such file");
}

TEST_F(PathChecksTest, DefaultPayloadIsSomeSharedLibraries) {
    std::uintmax_t total = 0;
    for (const std::string& path : system_libraries()) {
        EXPECT_TRUE(fs::is_regular_file(path)) << path;
        total += fs::file_size(path);
    }
    EXPECT_LE(total, 64 * mib);
    if (total == 0) GTEST_SKIP() << "this machine has no shared libraries in the usual folders";
    RunOptions options = good();
    options.payload.clear();
    EXPECT_FALSE(validate(options).value().options.payload.empty());
}

}  // namespace
}  // namespace penumbra::vmm
