#include "guest-images/linux/loader/superblock.hpp"

#include <string_view>

namespace penumbra::loader {
namespace {

/// Text of at most `length` bytes at `offset`, up to the first zero; empty where the device is shorter.
std::string text_at(std::span<const std::byte> bytes, std::size_t offset, std::size_t length) {
    if (bytes.size() < offset + length) return {};
    std::string text;
    for (const std::byte b : bytes.subspan(offset, length)) {
        if (b == std::byte{0}) break;
        text += static_cast<char>(b);
    }
    return text;
}

bool magic_at(std::span<const std::byte> bytes, std::size_t offset, std::string_view magic) {
    if (bytes.size() < offset + magic.size()) return false;
    for (std::size_t i = 0; i < magic.size(); ++i) {
        if (bytes[offset + i] != static_cast<std::byte>(magic[i])) return false;
    }
    return true;
}

void add_hexadecimal(std::string& text, std::byte value, std::string_view digits) {
    text += digits[std::to_integer<std::size_t>(value) >> 4U];
    text += digits[std::to_integer<std::size_t>(value) & 15U];
}

std::string uuid_at(std::span<const std::byte> bytes, std::size_t offset) {
    std::string text;
    for (std::size_t i = 0; i < 16; ++i) {
        if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
        add_hexadecimal(text, bytes[offset + i], "0123456789abcdef");
    }
    return text;
}

/// FAT has a serial number of four bytes, written ABCD-1234, highest byte first.
std::string serial_at(std::span<const std::byte> bytes, std::size_t offset) {
    std::string text;
    for (std::size_t i = 4; i > 0; --i) {
        add_hexadecimal(text, bytes[offset + i - 1], "0123456789ABCDEF");
        if (i == 3) text += '-';
    }
    return text;
}

std::string without_trailing_blanks(std::string text) {
    while (text.ends_with(' ')) text.pop_back();
    return text;
}

}  // namespace

// Offsets: Linux fs/ext4/ext4.h (superblock at 1024), fs/xfs/libxfs/xfs_format.h, include/uapi/linux/btrfs_tree.h
// (superblock at 64 KiB), include/uapi/linux/msdos_fs.h.
std::optional<Superblock> read_superblock(std::span<const std::byte> start) {
    if (start.size() < superblock_bytes) return std::nullopt;
    if (magic_at(start, 1024 + 0x38, "\x53\xEF")) {
        return Superblock{"ext4", uuid_at(start, 1024 + 0x68), text_at(start, 1024 + 0x78, 16)};
    }
    if (magic_at(start, 0, "XFSB")) return Superblock{"xfs", uuid_at(start, 32), text_at(start, 108, 12)};
    if (magic_at(start, 65536 + 0x40, "_BHRfS_M")) {
        return Superblock{"btrfs", uuid_at(start, 65536 + 0x20), text_at(start, 65536 + 0x12B, 256)};
    }
    if (magic_at(start, 0x52, "FAT32   ")) {
        return Superblock{"vfat", serial_at(start, 0x43), without_trailing_blanks(text_at(start, 0x47, 11))};
    }
    if (magic_at(start, 0x36, "FAT16   ") || magic_at(start, 0x36, "FAT12   ")) {
        return Superblock{"vfat", serial_at(start, 0x27), without_trailing_blanks(text_at(start, 0x2B, 11))};
    }
    return std::nullopt;
}

}  // namespace penumbra::loader
