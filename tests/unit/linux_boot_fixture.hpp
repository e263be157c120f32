// Where tests of the Linux loader keep their files, and the RAM that it writes to.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "tests/unit/linux_files.hpp"
#include "vmm/boot/linux_image.hpp"

namespace penumbra::vmm::test {

inline constexpr std::uint64_t mib = 1ULL << 20;
inline constexpr std::uint64_t gib = 1ULL << 30;
inline constexpr Gpa rsdp{0xE0000};

/// Guest RAM, only the pages that were written; pages start as `fill`.
class GuestRam {
public:
    explicit GuestRam(const AddressLayout& layout, std::byte fill = {}) : layout_(layout), fill_(fill) {}

    WriteGuest writer() {
        return [this](Gpa at, std::span<const std::byte> bytes) -> Result<> {
            EXPECT_LE(page_offset(at) + bytes.size(), page_bytes);
            EXPECT_TRUE(layout_.window_page_of(frame_of(at))) << at.value();
            EXPECT_TRUE(at.value() < 0x9F000 || at.value() >= mib) << "not for the loader: " << at.value();
            std::memcpy(page(at).data() + page_offset(at), bytes.data(), bytes.size());
            return {};
        };
    }
    template <class T>
    T read(std::uint64_t gpa) {
        std::array<std::byte, sizeof(T)> bytes;
        for (std::size_t i = 0; i < sizeof(T); ++i) bytes[i] = page(Gpa{gpa + i})[(gpa + i) % page_bytes];
        return std::bit_cast<T>(bytes);
    }
    std::string text(std::uint64_t gpa, std::size_t bytes) {
        std::string all;
        for (std::size_t i = 0; i < bytes; ++i) all += static_cast<char>(read<std::byte>(gpa + i));
        return all;
    }
    [[nodiscard]] std::size_t pages() const { return pages_.size(); }

private:
    std::array<std::byte, page_bytes>& page(Gpa at) {
        const auto [found, fresh] = pages_.try_emplace(frame_of(at).value());
        if (fresh) found->second.fill(fill_);
        return found->second;
    }

    AddressLayout layout_;
    std::byte fill_;
    std::map<std::uint64_t, std::array<std::byte, page_bytes>> pages_;
};

class LinuxBootTest : public testing::Test {
protected:
    void SetUp() override {
        std::string pattern = std::filesystem::temp_directory_path() / "linux-boot-XXXXXX";
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        folder_ = pattern;
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }

    std::string store(const std::string& name, const std::string& contents) {
        std::ofstream(folder_ / name, std::ios::binary) << contents;
        return folder_ / name;
    }
    /// Each kernel in a file of its own.
    LinuxFiles files(const std::string& kernel, ElfEntry entry = ElfEntry::automatic) {
        return {store("kernel" + std::to_string(kernels_++), kernel), "", "console=ttyS0", entry};
    }
    static std::string error_of(const LinuxFiles& files, std::uint64_t ram_bytes = 32 * mib) {
        const auto image = LinuxImage::read(files, *AddressLayout::create(ram_bytes));
        if (image) return "no error";
        EXPECT_FALSE(image.error().cure.empty()) << image.error().message();
        return image.error().message();
    }

    std::filesystem::path folder_;
    unsigned kernels_ = 0;
};

}  // namespace penumbra::vmm::test
