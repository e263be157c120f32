// One line for the console, built in place in a Text block of guest memory. Freestanding; cuts what does not fit.
#pragma once

#include <cstddef>
#include <cstdint>

namespace penumbra::guest {

class TextLine {
public:
    /// `block` is 8-byte aligned; the line starts empty.
    TextLine(std::uint8_t* block, std::size_t block_bytes) : block_(block), room_(block_bytes - sizeof(std::uint64_t)) {
        set_length();
    }

    TextLine& text(const char* words) {
        for (; *words != 0; ++words) put(*words);
        set_length();
        return *this;
    }
    TextLine& number(std::uint64_t value) {
        char digits[20];
        std::size_t n = 0;
        do {
            digits[n++] = static_cast<char>('0' + value % 10);
            value /= 10;
        } while (value != 0);
        while (n != 0) put(digits[--n]);
        set_length();
        return *this;
    }
    TextLine& hex(std::uint64_t value) {
        text("0x");
        int shift = 60;
        while (shift > 0 && (value >> shift) == 0) shift -= 4;
        for (; shift >= 0; shift -= 4) put("0123456789abcdef"[(value >> shift) & 15]);
        set_length();
        return *this;
    }

private:
    void put(char c) {
        if (length_ < room_) block_[sizeof(std::uint64_t) + length_++] = static_cast<std::uint8_t>(c);
    }
    void set_length() {
        const std::uint64_t length = length_;
        __builtin_memcpy(block_, &length, sizeof(length));
    }

    std::uint8_t* block_;
    std::size_t room_;
    std::size_t length_ = 0;
};

}  // namespace penumbra::guest
