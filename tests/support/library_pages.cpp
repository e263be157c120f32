#include "tests/support/library_pages.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <string>

#include "base/assert.hpp"

namespace penumbra::test {

std::vector<Page> library_pages(std::size_t limit) {
    Dl_info libc{};
    PENUMBRA_ASSERT(::dladdr(::dlsym(RTLD_DEFAULT, "qsort"), &libc) != 0, "the C library has a file");
    std::vector<Page> pages;
    for (const std::string& path : {std::string{libc.dli_fname}, std::string{"/proc/self/exe"}}) {
        std::ifstream file{path, std::ios::binary};
        Page page{};
        while (pages.size() < limit && file.read(reinterpret_cast<char*>(page.data()), page.size())) {
            if (std::ranges::any_of(page, [](std::byte b) { return b != std::byte{0}; })) pages.push_back(page);
        }
    }
    PENUMBRA_ASSERT(pages.size() >= 64, "enough real data to test with");
    return pages;
}

Page noise_page(std::uint64_t seed) {
    std::mt19937_64 random{seed};
    Page page{};
    for (std::size_t at = 0; at < page.size(); at += sizeof(std::uint64_t)) {
        const std::uint64_t word = random();
        std::memcpy(page.data() + at, &word, sizeof word);
    }
    return page;
}

}  // namespace penumbra::test
