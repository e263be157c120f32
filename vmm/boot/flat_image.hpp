// A flat guest image: code that runs from abi::image_base, with a header at byte 8 that tells how much memory it takes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "vmm/boot/address_layout.hpp"
#include "vmm/boot/guest_writer.hpp"

namespace penumbra::vmm {

/// Bytes 0..7 of the file jump over this header, which follows them; little-endian.
struct FlatImageHeader {
    static constexpr std::size_t offset = 8;
    static constexpr std::uint64_t magic_value = 0x31474D49'4D554E50;  // "PNUMIMG1"

    std::uint64_t magic;
    std::uint64_t file_bytes;    ///< size of the file
    std::uint64_t memory_bytes;  ///< with the zeroed memory that follows the file's bytes
    std::uint64_t reserved;
};

class FlatImage {
public:
    /// Reads and checks an image for a guest with that RAM. An unreadable file, a file that is no image and one that
    /// does not fit each give an error of their own, with a cure.
    [[nodiscard]] static Result<FlatImage> read(const std::string& path, const AddressLayout& layout);

    /// First guest-physical byte after the image and its zeroed memory.
    [[nodiscard]] Gpa end() const { return end_; }
    /// Stores the file's bytes at abi::image_base. RAM behind them must still be zero.
    [[nodiscard]] Result<> write(const WriteGuest& write) const;

private:
    FlatImage(std::vector<std::byte> bytes, Gpa end) : bytes_(std::move(bytes)), end_(end) {}

    std::vector<std::byte> bytes_;
    Gpa end_;
};

}  // namespace penumbra::vmm
