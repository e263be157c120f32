#include "bench/common/payload_pages.hpp"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <utility>

namespace penumbra::bench {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t buffer_bytes = 64 * page_bytes;

std::vector<std::string> library_files() {
    std::vector<std::string> files;
    for (const char* folder : {"/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"}) {
        std::error_code error;
        const auto options = fs::directory_options::skip_permission_denied;
        for (fs::recursive_directory_iterator at{folder, options, error}, end; !error && at != end;
             at.increment(error)) {
            const std::string name = at->path().filename().string();
            std::error_code unreadable;
            if (name.find(".so") != std::string::npos && fs::is_regular_file(at->symlink_status(unreadable))) {
                files.push_back(at->path().string());
            }
        }
        if (!files.empty()) break;
    }
    std::ranges::sort(files);
    return files;
}

bool is_zero(PageView page) {
    return page[0] == std::byte{0} && std::memcmp(page.data(), page.data() + 1, page_bytes - 1) == 0;
}

}  // namespace

LibraryReader::LibraryReader() : files_(library_files()) {}

Result<> LibraryReader::read(const std::function<bool(PageView)>& take) {
    const auto buffer = std::make_unique<std::byte[]>(buffer_bytes);
    bool any = true;
    while (std::exchange(any, false)) {
        for (const std::string& name : files_) {
            std::ifstream file{name, std::ios::binary};
            std::size_t bytes = 0;
            do {
                file.read(reinterpret_cast<char*>(buffer.get()), buffer_bytes);
                bytes = static_cast<std::size_t>(file.gcount());
                for (std::size_t at = 0; at + page_bytes <= bytes; at += page_bytes) {
                    const PageView page{buffer.get() + at, page_bytes};
                    if (is_zero(page)) continue;
                    any = true;
                    if (!take(page)) return {};
                }
            } while (bytes == buffer_bytes);
        }
    }
    return fail("read shared libraries", "/usr/lib", "install some: their bytes are what is measured with");
}

Result<PayloadPages> PayloadPages::load(std::uint32_t pages, const std::function<bool(PageView)>& wanted) {
    PENUMBRA_TRY_ASSIGN(MappedRegion region, MappedRegion::anonymous(std::size_t{pages} * page_bytes));
    PENUMBRA_TRY(region.keep_private());
    std::uint32_t filled = 0;
    std::uint64_t seen = 0;
    LibraryReader reader;
    PENUMBRA_TRY(reader.read([&](PageView page) {
        if (wanted(page)) std::memcpy(region.data() + std::size_t{filled++} * page_bytes, page.data(), page_bytes);
        return filled < pages && ++seen < std::uint64_t{100} * pages;
    }));
    if (filled < pages) return fail("find enough fit pages in", "the shared libraries", "install more of them");
    return PayloadPages{std::move(region)};
}

}  // namespace penumbra::bench
