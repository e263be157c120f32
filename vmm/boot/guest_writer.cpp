#include "vmm/boot/guest_writer.hpp"

#include <algorithm>

namespace penumbra::vmm {

Result<> write_by_pages(Gpa first, std::span<const std::byte> bytes, const WriteGuest& write) {
    while (!bytes.empty()) {
        const std::size_t length = std::min<std::size_t>(bytes.size(), page_bytes - page_offset(first));
        PENUMBRA_TRY(write(first, bytes.first(length)));
        bytes = bytes.subspan(length);
        first += length;
    }
    return {};
}

}  // namespace penumbra::vmm
