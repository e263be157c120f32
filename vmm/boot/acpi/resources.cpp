#include "vmm/boot/acpi/resources.hpp"

#include <limits>

#include "base/assert.hpp"

namespace penumbra::vmm::aml {

namespace {

// Tag bytes: a small one holds the descriptor's length in its low three bits, a large one is followed by two bytes.
enum class Tag : std::uint8_t {
    irq_without_flags = 0x22,
    io_port = 0x47,
    end = 0x79,
    fixed_memory = 0x86,
    dword_space = 0x87,
    word_space = 0x88,
    extended_interrupt = 0x89,
};
enum class Space : std::uint8_t { memory = 0, io = 1, bus = 2 };

constexpr std::uint8_t decode_16_bits = 1;
constexpr std::uint8_t writable = 1;
constexpr std::uint8_t consumer = 1, shared = 1 << 3;  // an interrupt's; level and active high are zeroes
constexpr std::uint8_t fixed_bounds = 0xC;  // an address space's; passed on and positively decoded are zeroes
constexpr std::uint8_t entire_io_range = 3;

Bytes tagged(Tag tag) { return {static_cast<std::byte>(tag)}; }

/// Word and double word address space descriptors (6.4.3.5.2, 6.4.3.5.3) differ in the width of their numbers only.
Bytes address_space(Tag tag, unsigned width, Space space, std::uint8_t space_flags, std::uint64_t first,
                    std::uint64_t last) {
    PENUMBRA_ASSERT(first <= last && last >> (8 * width) == 0, "bounds of an address space");
    Bytes bytes = tagged(tag);
    append_integer(bytes, 3 + 5 * width, 2);
    append_integer(bytes, static_cast<std::uint8_t>(space), 1);
    append_integer(bytes, fixed_bounds, 1);
    append_integer(bytes, space_flags, 1);
    append_integer(bytes, 0, width);  // granularity
    append_integer(bytes, first, width);
    append_integer(bytes, last, width);
    append_integer(bytes, 0, width);  // translation
    append_integer(bytes, last - first + 1, width);
    return bytes;
}

}  // namespace

Bytes resource_template(const Terms& descriptors) {
    Bytes contents;
    for (const Bytes& descriptor : descriptors) append(contents, descriptor);
    append(contents, tagged(Tag::end));
    contents.push_back(std::byte{0});  // a checksum of 0 counts as right
    return buffer(contents);
}

Bytes io_ports(std::uint16_t first, std::uint8_t count) {
    Bytes bytes = tagged(Tag::io_port);
    append_integer(bytes, decode_16_bits, 1);
    append_integer(bytes, first, 2);
    append_integer(bytes, first, 2);
    append_integer(bytes, 1, 1);  // alignment
    append_integer(bytes, count, 1);
    return bytes;
}

Bytes isa_irq(unsigned irq) {
    PENUMBRA_ASSERT(irq < 16, "an ISA interrupt");
    Bytes bytes = tagged(Tag::irq_without_flags);
    append_integer(bytes, std::uint64_t{1} << irq, 2);
    return bytes;
}

Bytes level_interrupt(std::uint32_t gsi) {
    Bytes bytes = tagged(Tag::extended_interrupt);
    append_integer(bytes, 6, 2);
    append_integer(bytes, consumer | shared, 1);
    append_integer(bytes, 1, 1);  // one interrupt
    append_integer(bytes, gsi, 4);
    return bytes;
}

Bytes fixed_memory(std::uint64_t first, std::uint64_t length) {
    constexpr std::uint64_t most = std::numeric_limits<std::uint32_t>::max();
    PENUMBRA_ASSERT(length > 0 && length <= most && first <= most - (length - 1), "bounds of fixed memory");
    Bytes bytes = tagged(Tag::fixed_memory);
    append_integer(bytes, 9, 2);
    append_integer(bytes, writable, 1);
    append_integer(bytes, first, 4);
    append_integer(bytes, length, 4);
    return bytes;
}

Bytes bus_numbers(std::uint16_t first, std::uint16_t last) {
    return address_space(Tag::word_space, 2, Space::bus, 0, first, last);
}

Bytes io_window(std::uint16_t first, std::uint16_t last) {
    return address_space(Tag::word_space, 2, Space::io, entire_io_range, first, last);
}

Bytes memory_window(std::uint64_t first, std::uint64_t last) {
    return address_space(Tag::dword_space, 4, Space::memory, writable, first, last);
}

}  // namespace penumbra::vmm::aml
