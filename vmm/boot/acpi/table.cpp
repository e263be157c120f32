#include "vmm/boot/acpi/table.hpp"

#include "base/assert.hpp"

namespace penumbra::vmm::acpi {

namespace {

constexpr std::size_t checksum_offset = 9;
constexpr std::string_view oem_table_id = "PENUMBRA", creator_id = "PNMB";
constexpr std::uint32_t oem_revision = 1, creator_revision = 1;

constexpr std::uint8_t io_space = 1;

}  // namespace

void append_text(Bytes& bytes, std::string_view text) { aml::append(bytes, std::as_bytes(std::span(text))); }

void append_zeroes(Bytes& bytes, std::size_t count) { bytes.resize(bytes.size() + count); }

void append_ports(Bytes& bytes, std::uint16_t first, std::uint8_t length, AccessSize access) {
    aml::append_integer(bytes, io_space, 1);
    aml::append_integer(bytes, length * 8U, 1);
    aml::append_integer(bytes, 0, 1);  // bit offset
    aml::append_integer(bytes, static_cast<std::uint8_t>(access), 1);
    aml::append_integer(bytes, first, 8);
}

std::byte checksum_of(std::span<const std::byte> bytes) {
    unsigned sum = 0;
    for (const std::byte value : bytes) sum += std::to_integer<unsigned>(value);
    return static_cast<std::byte>(0U - sum);
}

Bytes make_table(std::string_view signature, std::uint8_t revision, const Bytes& body) {
    PENUMBRA_ASSERT(signature.size() == 4, "an ACPI table's signature");
    Bytes table;
    append_text(table, signature);
    aml::append_integer(table, header_bytes + body.size(), 4);
    aml::append_integer(table, revision, 1);
    append_zeroes(table, 1);
    append_text(table, oem_id);
    append_text(table, oem_table_id);
    aml::append_integer(table, oem_revision, 4);
    append_text(table, creator_id);
    aml::append_integer(table, creator_revision, 4);
    PENUMBRA_ASSERT(table.size() == header_bytes, "an ACPI table's header");
    aml::append(table, body);
    table[checksum_offset] = checksum_of(table);
    return table;
}

}  // namespace penumbra::vmm::acpi
