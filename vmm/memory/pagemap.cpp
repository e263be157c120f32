#include "vmm/memory/pagemap.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace penumbra::vmm {

Result<Pagemap> Pagemap::open() {
    UniqueFd fd{::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)};
    if (!fd) return fail_errno("open", "/proc/self/pagemap");
    return Pagemap{std::move(fd)};
}

Result<std::vector<bool>> Pagemap::present(HvpRange range) const {
    // Present, or held by the host's own swap or migration: still the window's.
    constexpr std::uint64_t held_bits = (1ULL << 63) | (1ULL << 62);
    constexpr std::size_t batch = 4096;
    std::vector<std::uint64_t> words(std::min<std::uint64_t>(batch, range.pages()));
    std::vector<bool> answer;
    answer.reserve(range.pages());
    while (answer.size() < range.pages()) {
        const std::size_t count = std::min<std::uint64_t>(words.size(), range.pages() - answer.size());
        const std::uint64_t offset = (range.first().value() + answer.size()) * sizeof(std::uint64_t);
        const ssize_t got = ::pread(fd_.get(), words.data(), count * sizeof(std::uint64_t), static_cast<off_t>(offset));
        if (got <= 0) return fail_errno("read", "/proc/self/pagemap");
        for (std::size_t i = 0; i < static_cast<std::size_t>(got) / sizeof(std::uint64_t); ++i) {
            answer.push_back((words[i] & held_bits) != 0);
        }
    }
    return answer;
}

Result<bool> Pagemap::is_present(Hvp page) const {
    PENUMBRA_TRY_ASSIGN(const std::vector<bool> answer, present(HvpRange{page, 1}));
    return answer[0];
}

}  // namespace penumbra::vmm
