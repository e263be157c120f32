#include "vmm/boot/acpi/aml.hpp"

#include <algorithm>
#include <limits>

#include "base/assert.hpp"

namespace penumbra::vmm::aml {

namespace {

// 20.3, "AML Byte Stream Byte Values".
enum class Op : std::uint8_t {
    zero = 0x00,
    one = 0x01,
    name = 0x08,
    byte_prefix = 0x0A,
    word_prefix = 0x0B,
    dword_prefix = 0x0C,
    string_prefix = 0x0D,
    qword_prefix = 0x0E,
    scope = 0x10,
    buffer = 0x11,
    package = 0x12,
    method = 0x14,
    dual_name_prefix = 0x2E,
    multi_name_prefix = 0x2F,
    extended_prefix = 0x5B,
    device = 0x82,  // behind extended_prefix
    return_ = 0xA4,
};

constexpr std::size_t segment_bytes = 4;

void append_op(Bytes& bytes, Op op) { bytes.push_back(static_cast<std::byte>(op)); }

Bytes sized(std::initializer_list<Op> ops, const Bytes& content) {
    Bytes bytes;
    for (const Op op : ops) append_op(bytes, op);
    append(bytes, package_length(content.size()));
    append(bytes, content);
    return bytes;
}

Bytes named_block(std::initializer_list<Op> ops, std::string_view path, const Terms& terms) {
    Bytes content = name_string(path);
    for (const Bytes& term : terms) append(content, term);
    return sized(ops, content);
}

bool is_lead(char c) { return (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

void append_segment(Bytes& bytes, std::string_view segment) {
    PENUMBRA_ASSERT(!segment.empty() && segment.size() <= segment_bytes && is_lead(segment[0]), "an AML name segment");
    for (std::size_t i = 0; i < segment_bytes; ++i) {
        const char c = i < segment.size() ? segment[i] : '_';
        PENUMBRA_ASSERT(is_lead(c) || is_digit(c), "a character in an AML name");
        bytes.push_back(static_cast<std::byte>(c));
    }
}

std::uint32_t hex_digit(char c) {
    if (is_digit(c)) return static_cast<std::uint32_t>(c - '0');
    PENUMBRA_ASSERT(c >= 'A' && c <= 'F', "a hexadecimal digit of an EISA id");
    return static_cast<std::uint32_t>(c - 'A' + 10);
}

}  // namespace

void append_integer(Bytes& bytes, std::uint64_t value, unsigned count) {
    for (unsigned i = 0; i < count; ++i) bytes.push_back(static_cast<std::byte>(value >> (8 * i) & 0xFF));
}

void append(Bytes& bytes, std::span<const std::byte> more) { bytes.insert(bytes.end(), more.begin(), more.end()); }

Bytes package_length(std::size_t content) {
    // One byte holds 6 bits; with n more bytes, the first holds n in its top bits and 4 bits, each other 8.
    if (content + 1 < 1U << 6) return {static_cast<std::byte>(content + 1)};
    unsigned more = 1;
    while (content + 1 + more >= std::size_t{1} << (4 + 8 * more)) ++more;
    PENUMBRA_ASSERT(more <= 3, "an AML term too long for its length");
    const std::size_t length = content + 1 + more;
    Bytes bytes{static_cast<std::byte>(more << 6 | (length & 0xF))};
    append_integer(bytes, length >> 4, more);
    return bytes;
}

Bytes name_string(std::string_view path) {
    Bytes bytes;
    while (!path.empty() && (path[0] == '\\' || path[0] == '^')) {
        PENUMBRA_ASSERT(path[0] == '^' || bytes.empty(), "an AML root in the midst of a name");
        bytes.push_back(static_cast<std::byte>(path[0]));
        path.remove_prefix(1);
    }
    Bytes segments;
    std::size_t count = 0;
    for (bool more = true; more; ++count) {
        const std::size_t dot = path.find('.');
        append_segment(segments, path.substr(0, dot));
        more = dot != std::string_view::npos;
        if (more) path.remove_prefix(dot + 1);
    }
    PENUMBRA_ASSERT(count <= std::numeric_limits<std::uint8_t>::max(), "an AML name of too many segments");
    if (count == 2) append_op(bytes, Op::dual_name_prefix);
    if (count > 2) {
        append_op(bytes, Op::multi_name_prefix);
        append_integer(bytes, count, 1);
    }
    append(bytes, segments);
    return bytes;
}

Bytes integer(std::uint64_t value) {
    struct Form {
        Op prefix;
        unsigned bytes;
    };
    Bytes bytes;
    if (value <= 1) {
        append_op(bytes, value == 0 ? Op::zero : Op::one);
        return bytes;
    }
    const Form form = value <= 0xFF          ? Form{Op::byte_prefix, 1}
                      : value <= 0xFFFF      ? Form{Op::word_prefix, 2}
                      : value <= 0xFFFF'FFFF ? Form{Op::dword_prefix, 4}
                                             : Form{Op::qword_prefix, 8};
    append_op(bytes, form.prefix);
    append_integer(bytes, value, form.bytes);
    return bytes;
}

Bytes string(std::string_view text) {
    Bytes bytes;
    append_op(bytes, Op::string_prefix);
    for (const char c : text) {
        PENUMBRA_ASSERT(c >= 0x20 && c < 0x7F, "a character in an AML string");
        bytes.push_back(static_cast<std::byte>(c));
    }
    bytes.push_back(std::byte{0});
    return bytes;
}

Bytes eisa_id(std::string_view id) {
    PENUMBRA_ASSERT(id.size() == 7, "an EISA id has seven characters");
    std::uint32_t packed = 0;  // five bits a letter, four a digit; then stored highest byte first
    for (const char c : id.substr(0, 3)) {
        PENUMBRA_ASSERT(c >= 'A' && c <= 'Z', "a letter of an EISA id");
        packed = packed << 5 | static_cast<std::uint32_t>(c - 'A' + 1);
    }
    for (const char c : id.substr(3)) packed = packed << 4 | hex_digit(c);
    Bytes bytes;
    append_op(bytes, Op::dword_prefix);
    append_integer(bytes, __builtin_bswap32(packed), 4);
    return bytes;
}

Bytes buffer(std::span<const std::byte> contents) {
    Bytes body = integer(contents.size());
    append(body, contents);
    return sized({Op::buffer}, body);
}

Bytes package(const Terms& elements) {
    PENUMBRA_ASSERT(elements.size() <= std::numeric_limits<std::uint8_t>::max(), "an AML package of too many elements");
    Bytes body{static_cast<std::byte>(elements.size())};
    for (const Bytes& element : elements) append(body, element);
    return sized({Op::package}, body);
}

Bytes name(std::string_view path, const Bytes& value) {
    Bytes bytes;
    append_op(bytes, Op::name);
    append(bytes, name_string(path));
    append(bytes, value);
    return bytes;
}

Bytes scope(std::string_view path, const Terms& terms) { return named_block({Op::scope}, path, terms); }

Bytes device(std::string_view path, const Terms& terms) {
    return named_block({Op::extended_prefix, Op::device}, path, terms);
}

Bytes constant_method(std::string_view path, const Bytes& value) {
    constexpr std::byte no_arguments{0};  // nor serialised
    Bytes body{no_arguments};
    append_op(body, Op::return_);
    append(body, value);
    return named_block({Op::method}, path, {body});
}

}  // namespace penumbra::vmm::aml
