#include "bench/common/kernel_swap.hpp"

#include <fcntl.h>
#include <sys/swap.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <sstream>
#include <string_view>

#include "base/page_size.hpp"
#include "base/unique_fd.hpp"
#include "bench/common/kernel_files.hpp"

namespace penumbra::bench {

namespace {

constexpr const char* cure = "run as root on a kernel with zram (modprobe zram)";

/// The first page of a swap area (the kernel's include/linux/swap.h: union swap_header).
std::array<char, page_bytes> swap_header(std::uint64_t bytes) {
    constexpr std::size_t information_at = 1024;
    constexpr std::string_view magic = "SWAPSPACE2";
    constexpr std::uint32_t version = 1;
    const auto last_page = static_cast<std::uint32_t>(bytes / page_bytes - 1);
    std::array<char, page_bytes> header{};
    std::memcpy(header.data() + information_at, &version, sizeof version);
    std::memcpy(header.data() + information_at + sizeof version, &last_page, sizeof last_page);
    std::ranges::copy(magic, header.end() - static_cast<std::ptrdiff_t>(magic.size()));
    return header;
}

}  // namespace

Result<ZramSwap> ZramSwap::add() {
    auto number = read_text("/sys/class/zram-control/hot_add");
    if (!number) {
        Error error = std::move(number).error();
        error.act = "add a zram device with";
        error.cure = cure;
        return std::unexpected{std::move(error)};
    }
    ZramSwap swap;
    swap.number_ = std::move(*number);
    return swap;
}

Result<std::vector<std::string>> ZramSwap::compressors() {
    PENUMBRA_TRY_ASSIGN(const ZramSwap swap, add());
    PENUMBRA_TRY_ASSIGN(std::string text, read_text(swap.attribute("comp_algorithm")));
    std::erase_if(text, [](char c) { return c == '[' || c == ']'; });
    std::istringstream words{std::move(text)};
    std::vector<std::string> found;
    for (std::string word; words >> word;) {
        if (word == "lz4" || word == "lzo-rle") found.push_back(word);
    }
    if (found.empty()) return fail("find lz4 or lzo-rle among", "zram's compressors", cure);
    return found;
}

Result<ZramSwap> ZramSwap::create(const std::string& compressor, std::uint64_t bytes) {
    PENUMBRA_TRY_ASSIGN(ZramSwap swap, add());
    PENUMBRA_TRY(write_text(swap.attribute("comp_algorithm"), compressor));
    PENUMBRA_TRY(write_text(swap.attribute("disksize"), std::to_string(bytes)));
    PENUMBRA_TRY(swap.swap_on(bytes));
    return swap;
}

Result<> ZramSwap::swap_on(std::uint64_t bytes) {
    const auto header = swap_header(bytes);
    {
        const UniqueFd file{::open(device().c_str(), O_WRONLY | O_CLOEXEC)};
        if (!file || ::write(file.get(), header.data(), header.size()) != static_cast<ssize_t>(header.size())) {
            return fail_errno("prepare the swap device", device(), cure);
        }
        if (::fsync(file.get()) != 0) return fail_errno("prepare the swap device", device(), cure);
    }
    if (::swapon(device().c_str(), SWAP_FLAG_PREFER | SWAP_FLAG_PRIO_MASK) != 0) {
        return fail_errno("swap on", device(), cure);
    }
    on_ = true;
    return {};
}

ZramSwap::~ZramSwap() {
    if (number_.empty()) return;
    if (on_) (void)::swapoff(device().c_str());
    (void)write_text(attribute("reset"), "1");
    (void)write_text("/sys/class/zram-control/hot_remove", number_);
}

Result<std::uint64_t> ZramSwap::pool_peak() const {
    PENUMBRA_TRY_ASSIGN(std::string text, read_text(attribute("mm_stat")));
    // Documentation/admin-guide/blockdev/zram.rst: original, compressed, used, limit, most used.
    std::array<std::uint64_t, 5> fields{};
    std::istringstream words{std::move(text)};
    for (std::uint64_t& field : fields) words >> field;
    if (!words) return fail("understand", attribute("mm_stat"));
    return fields.back();
}

}  // namespace penumbra::bench
