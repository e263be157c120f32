#include "vmm/payload.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "base/unique_fd.hpp"

namespace penumbra::vmm {

Result<Payload> Payload::open(const std::vector<std::string>& files, std::uint64_t most_bytes) {
    PENUMBRA_TRY_ASSIGN(MappedRegion region, MappedRegion::reserve(most_bytes));
    std::uint64_t filled = 0;
    for (const std::string& name : files) {
        const UniqueFd fd{::open(name.c_str(), O_RDONLY | O_CLOEXEC)};
        struct stat status{};
        if (!fd || ::fstat(fd.get(), &status) != 0) return fail_errno("read the payload", name, "name a readable file");
        const std::uint64_t whole = static_cast<std::uint64_t>(status.st_size) / page_bytes * page_bytes;
        const std::uint64_t bytes = std::min(whole, most_bytes - filled);
        if (bytes == 0) continue;
        PENUMBRA_TRY(region.place_file(filled, fd.get(), bytes));
        filled += bytes;
    }
    return Payload{std::move(region), filled >> page_shift};
}

}  // namespace penumbra::vmm
