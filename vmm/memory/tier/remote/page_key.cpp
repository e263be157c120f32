#include "vmm/memory/tier/remote/page_key.hpp"

#include <sys/random.h>

#include <algorithm>
#include <boost/crc.hpp>

#include "base/assert.hpp"

namespace penumbra::vmm {

namespace {

constexpr std::string_view name = "penumbra:";
constexpr unsigned serial_digits = serial_bits / 4;
constexpr unsigned page_digits = page_index_bits / 4;
static_assert(page_index_bits % 4 == 0 && serial_bits % 4 == 0);
constexpr std::size_t page_at = name.size() + 32 + 1;
constexpr std::size_t serial_at = page_at + page_digits + 1;
static_assert(serial_at + serial_digits == sizeof(PageKey::text));

void write_hex(char* to, std::uint64_t value, unsigned digits) {
    for (unsigned i = digits; i > 0; --i, value >>= 4) to[i - 1] = "0123456789abcdef"[value & 15];
}

}  // namespace

Result<VmId> VmId::random() {
    VmId id;
    if (::getrandom(&id, sizeof id, 0) != sizeof id) return fail_errno("draw a random name for the VM");
    return id;
}

PageKeys::PageKeys(VmId vm) : first_{} {
    char* to = std::ranges::copy(name, first_.text.data()).out;
    write_hex(to, vm.high, 16);
    write_hex(to + 16, vm.low, 16);
    first_.text[page_at - 1] = first_.text[serial_at - 1] = ':';
}

PageKey PageKeys::of(std::uint32_t page, std::uint64_t serial) const {
    PENUMBRA_ASSERT(serial >> serial_bits == 0, "a serial of 48 bits");
    PageKey key = first_;
    write_hex(key.text.data() + page_at, page, page_digits);
    write_hex(key.text.data() + serial_at, serial, serial_digits);
    return key;
}

std::uint16_t cluster_slot(std::string_view key) {
    boost::crc_optimal<16, 0x1021, 0, 0, false, false> crc;  // CRC-16/XMODEM
    crc.process_bytes(key.data(), key.size());
    return static_cast<std::uint16_t>(crc.checksum() % cluster_slots);
}

}  // namespace penumbra::vmm
