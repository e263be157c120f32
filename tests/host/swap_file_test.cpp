#include "vmm/memory/tier/swap_file.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace penumbra::vmm {
namespace {

namespace fs = std::filesystem;

class SwapFileTest : public ::testing::Test {
protected:
    void SetUp() override {
        std::string name = (fs::temp_directory_path() / "penumbra-swap-file-XXXXXX").string();
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        folder_ = name;
    }
    void TearDown() override { fs::remove_all(folder_); }

    [[nodiscard]] std::string path() const { return (folder_ / "swap").string(); }

    fs::path folder_;
};

TEST_F(SwapFileTest, RefusesFilesThatAreNotItsOwn) {
    std::ofstream{path()} << "somebody's letters";
    const auto refused = SwapFile::open(path());
    ASSERT_FALSE(refused.has_value());
    EXPECT_NE(refused.error().message().find(path()), std::string::npos);
    EXPECT_EQ(fs::file_size(path()), 18U) << "and leaves them alone";
}

TEST_F(SwapFileTest, RefusesWhatCannotHoldPages) {
    EXPECT_FALSE(SwapFile::open("/dev/null").has_value());
    EXPECT_FALSE(SwapFile::open((folder_ / "no" / "such").string()).has_value());
}

TEST_F(SwapFileTest, TwoVmsNeverShareAFile) {
    const auto first = SwapFile::open(path());
    ASSERT_TRUE(first.has_value()) << first.error().message();
    const auto second = SwapFile::open(path());
    ASSERT_FALSE(second.has_value());
    EXPECT_NE(second.error().message().find("another VM"), std::string::npos) << second.error().message();
    EXPECT_TRUE(fs::exists(path())) << "the refused VM does not unlink it";
}

TEST_F(SwapFileTest, AFileItMadeIsUnlinkedAtTheEnd) {
    {
        const auto file = SwapFile::open(path());
        ASSERT_TRUE(file.has_value()) << file.error().message();
        EXPECT_TRUE(file->grow(0, 1 << 20).has_value());
        EXPECT_EQ(fs::status(path()).permissions(), fs::perms::owner_read | fs::perms::owner_write);
    }
    EXPECT_FALSE(fs::exists(path()));
}

TEST_F(SwapFileTest, AnEmptyFileThatWasThereIsEmptiedAndKept) {
    std::ofstream{path()}.close();
    {
        const auto file = SwapFile::open(path());
        ASSERT_TRUE(file.has_value()) << file.error().message();
        EXPECT_TRUE(file->grow(0, 1 << 20).has_value());
    }
    EXPECT_TRUE(fs::exists(path()));
    EXPECT_EQ(fs::file_size(path()), 0U);
}

TEST_F(SwapFileTest, ADirectoryGetsAFileWithoutAName) {
    const auto file = SwapFile::open(folder_.string());
    ASSERT_TRUE(file.has_value()) << file.error().message();
    EXPECT_TRUE(file->grow(0, 1 << 20).has_value());
    EXPECT_TRUE(fs::is_empty(folder_));
}

}  // namespace
}  // namespace penumbra::vmm
