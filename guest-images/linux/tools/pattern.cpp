// pattern SEED MIB: writes MIB mebibytes of reproducible data to standard output.
// pattern SEED MIB FILE: compares FILE with them; tells the first page that differs.
// Half of each 4 KiB page is pseudo-random and half repeats one word, so that it compresses about 2:1, as programs do.
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

constexpr std::size_t page_bytes = 4096;
constexpr std::size_t words = page_bytes / sizeof(std::uint64_t);
using Page = std::array<std::uint64_t, words>;

std::uint64_t mixed(std::uint64_t value) {  // SplitMix64: one page does not depend on another
    value += 0x9E3779B97F4A7C15U;
    value = (value ^ (value >> 30U)) * 0xBF58476D1CE4E5B9U;
    value = (value ^ (value >> 27U)) * 0x94D049BB133111EBU;
    return value ^ (value >> 31U);
}

void make(Page& page, std::uint64_t seed, std::uint64_t number) {
    const std::uint64_t base = mixed(seed ^ mixed(number));
    for (std::size_t i = 0; i < words; ++i) page[i] = i % 2 == 0 ? mixed(base + i) : base;
}

int write_all(std::uint64_t seed, std::uint64_t pages) {
    Page page{};
    for (std::uint64_t i = 0; i < pages; ++i) {
        make(page, seed, i);
        if (std::fwrite(page.data(), page_bytes, 1, stdout) != 1) return std::perror("pattern: write"), 1;
    }
    return std::fflush(stdout) == 0 ? 0 : 1;
}

int compare(std::uint64_t seed, std::uint64_t pages, const char* path) {
    std::FILE* file = std::fopen(path, "rb");
    if (file == nullptr) return std::perror(path), 2;
    Page wanted{};
    Page found{};
    int status = 0;
    for (std::uint64_t i = 0; i < pages && status == 0; ++i) {
        make(wanted, seed, i);
        if (std::fread(found.data(), page_bytes, 1, file) != 1) {
            std::printf("page %llu cannot be read\n", static_cast<unsigned long long>(i));
            status = 1;
        } else if (found != wanted) {
            std::size_t at = 0;
            while (found[at] == wanted[at]) ++at;
            std::printf("page %llu differs at byte %zu: %016llx instead of %016llx\n",
                        static_cast<unsigned long long>(i), at * sizeof(std::uint64_t),
                        static_cast<unsigned long long>(found[at]), static_cast<unsigned long long>(wanted[at]));
            status = 1;
        }
    }
    std::fclose(file);
    return status;
}

}  // namespace

int main(int count, char** words_given) {
    if (count < 3 || count > 4) {
        std::fputs("usage: pattern SEED MIB [FILE]\n", stderr);
        return 2;
    }
    const std::uint64_t seed = std::strtoull(words_given[1], nullptr, 10);
    const std::uint64_t pages = std::strtoull(words_given[2], nullptr, 10) * 256;
    return count == 3 ? write_all(seed, pages) : compare(seed, pages, words_given[3]);
}
