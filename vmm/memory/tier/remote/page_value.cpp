#include "vmm/memory/tier/remote/page_value.hpp"

#include <array>
#include <bit>
#include <cstring>

#include "base/planted.hpp"
#include "vmm/memory/tier/page_check.hpp"
#include "vmm/memory/tier/page_codec.hpp"

namespace penumbra::vmm {

namespace {

constexpr std::array<char, 4> magic{'P', 'N', 'B', 'R'};
constexpr std::uint8_t format = 1;

struct Header {
    std::array<char, 4> magic;
    std::uint8_t format;
    std::uint8_t encoding;
    std::uint16_t length;
    std::uint64_t check;
    std::uint32_t page;
    std::uint32_t version;
};
static_assert(sizeof(Header) == value_header_bytes && std::endian::native == std::endian::little);

PageForm form_in(const Header& header) {
    return {header.check, header.page, header.version, header.length, static_cast<Encoding>(header.encoding)};
}

}  // namespace

std::size_t write_value(const PageForm& form, const std::byte* stored, std::span<std::byte, largest_value> value) {
    const Header header{.magic = magic,
                        .format = format,
                        .encoding = static_cast<std::uint8_t>(form.encoding),
                        .length = form.length,
                        .check = form.check,
                        .page = form.page,
                        .version = form.version};
    std::memcpy(value.data(), &header, sizeof header);
    std::memcpy(value.data() + sizeof header, stored, form.length);
    return sizeof header + form.length;
}

ValueFault read_value(std::span<const std::byte> value, std::uint64_t vm, const PageForm& form, PageBytes out) {
    Header header{};
    if (value.size() <= sizeof header) return ValueFault::foreign;
    std::memcpy(&header, value.data(), sizeof header);
    if (header.magic != magic || header.format != format) return ValueFault::foreign;
    const PageForm wanted = planted(Plant::remote_ignores_version) ? form_in(header) : form;
    if (header.page != form.page) return ValueFault::other_page;
    if (header.version != wanted.version) return ValueFault::other_time;
    const std::span<const std::byte> stored = value.subspan(sizeof header);
    if (header.check != wanted.check || header.length != wanted.length || stored.size() != wanted.length ||
        header.encoding != static_cast<std::uint8_t>(wanted.encoding) || !decode_page(wanted.encoding, stored, out) ||
        page_check({vm, wanted.page, wanted.version}, ConstPageBytes{out}) != wanted.check) {
        return ValueFault::damaged;
    }
    return ValueFault::none;
}

}  // namespace penumbra::vmm
