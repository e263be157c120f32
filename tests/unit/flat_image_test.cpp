#include "vmm/boot/flat_image.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>

#include "guest-images/common/machine_abi.hpp"

namespace penumbra::vmm {
namespace {

constexpr std::uint64_t ram_bytes = 4ULL << 20;

class FlatImageTest : public testing::Test {
protected:
    void SetUp() override {
        std::string pattern = std::filesystem::temp_directory_path() / "flat-image-XXXXXX";
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        folder_ = pattern;
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }

    std::string store(FlatImageHeader header, std::size_t bytes) {
        std::string contents(bytes, '\x90');
        std::memcpy(contents.data() + FlatImageHeader::offset, &header, sizeof(header));
        return store(contents);
    }
    std::string store(const std::string& contents) {
        const std::string path = folder_ / "image";
        std::ofstream(path, std::ios::binary) << contents;
        return path;
    }
    std::string error_of(const std::string& path) {
        const auto image = FlatImage::read(path, layout_);
        return image ? "no error" : image.error().message();
    }

    std::filesystem::path folder_;
    AddressLayout layout_ = *AddressLayout::create(ram_bytes);
};

TEST_F(FlatImageTest, GoodImageIsWrittenPageByPage) {
    const std::string path = store({FlatImageHeader::magic_value, 5000, 12288, 0}, 5000);
    const auto image = FlatImage::read(path, layout_);
    ASSERT_TRUE(image) << image.error().message();
    EXPECT_EQ(image->end().value(), abi::image_base + 12288);
    std::map<std::uint64_t, std::size_t> writes;
    ASSERT_TRUE(image->write([&](Gpa gpa, std::span<const std::byte> bytes) -> Result<> {
        writes[gpa.value()] = bytes.size();
        return {};
    }));
    EXPECT_EQ(writes, (std::map<std::uint64_t, std::size_t>{{abi::image_base, 4096}, {abi::image_base + 4096, 904}}));
    const auto refused = image->write([](Gpa, std::span<const std::byte>) -> Result<> { return fail("store a page"); });
    EXPECT_FALSE(refused);
}

TEST_F(FlatImageTest, MagicReadsAsText) {
    const std::uint64_t magic = FlatImageHeader::magic_value;
    EXPECT_EQ(std::memcmp(&magic, "PNUMIMG1", 8), 0);
}

TEST_F(FlatImageTest, UnreadableFilesSayWhy) {
    const std::string missing = folder_ / "missing";
    EXPECT_NE(error_of(missing).find(missing + ": No such file"), std::string::npos) << error_of(missing);
    EXPECT_NE(error_of(folder_).find("not a regular file"), std::string::npos) << error_of(folder_);
}

TEST_F(FlatImageTest, OtherFilesAreNoImages) {
    EXPECT_NE(error_of(store("#!/bin/sh\n")).find("shorter"), std::string::npos);
    EXPECT_NE(error_of(store(std::string(100, 'x'))).find("no image header"), std::string::npos);
    EXPECT_NE(error_of(store({FlatImageHeader::magic_value, 101, 200, 0}, 100)).find("cut short"), std::string::npos);
    EXPECT_NE(error_of(store({FlatImageHeader::magic_value, 99, 200, 0}, 100)).find("cut short"), std::string::npos);
    EXPECT_NE(error_of(store({FlatImageHeader::magic_value, 100, 99, 0}, 100)).find("not sound"), std::string::npos);
    EXPECT_NE(error_of("/dev/null").find("not a regular file"), std::string::npos);
}

TEST_F(FlatImageTest, ImagesLargerThanRamSayHowMuchIsNeeded) {
    const std::uint64_t room = ram_bytes - abi::image_base;
    EXPECT_EQ(error_of(store({FlatImageHeader::magic_value, 100, room - 1, 0}, 100)), "no error");
    const std::string message = error_of(store({FlatImageHeader::magic_value, 100, room, 0}, 100));
    EXPECT_NE(message.find("more than 5 MiB"), std::string::npos) << message;
    EXPECT_NE(error_of(store({FlatImageHeader::magic_value, 100, ~0ULL, 0}, 100)).find("MiB"), std::string::npos);
}

}  // namespace
}  // namespace penumbra::vmm
