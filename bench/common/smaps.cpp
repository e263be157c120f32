#include "bench/common/smaps.hpp"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <sstream>

#include "vmm/memory/pagemap.hpp"

namespace penumbra::bench {

Result<Resident> resident_memory() {
    std::ifstream file{"/proc/self/smaps"};
    if (!file) return fail_errno("read", "/proc/self/smaps");
    Resident resident;
    std::string name;
    for (std::string line; std::getline(file, line);) {
        std::istringstream words{line};
        std::string first;
        words >> first;
        if (first == "Rss:") {
            std::uint64_t kib = 0;
            words >> kib;
            resident.total += kib << 10;
            if (kib > 0) resident.largest.emplace_back(name, kib << 10);
        } else if (!first.ends_with(':')) {
            std::string rights, offset, device, inode, path;
            words >> rights >> offset >> device >> inode >> path;
            name = path.empty() ? first + " " + rights : path + " " + rights;
        }
    }
    std::ranges::sort(resident.largest, std::ranges::greater{}, &std::pair<std::string, std::uint64_t>::second);
    return resident;
}

Result<std::uint64_t> resident_bytes(HvpRange range) {
    PENUMBRA_TRY_ASSIGN(const vmm::Pagemap pagemap, vmm::Pagemap::open());
    PENUMBRA_TRY_ASSIGN(const std::vector<bool> present, pagemap.present(range));
    return static_cast<std::uint64_t>(std::ranges::count(present, true)) * page_bytes;
}

}  // namespace penumbra::bench
