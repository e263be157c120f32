// Real data: pages of the machine's shared libraries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/mapped_region.hpp"

namespace penumbra::bench {

using PageView = std::span<const std::byte, page_bytes>;

/// Reads the machine's shared libraries page by page, in the order of their names, again from the first once all are
/// read. All-zero pages are passed over. Keeps one small buffer.
class LibraryReader {
public:
    LibraryReader();
    /// Calls `take` with page after page until it answers false. An error when the machine has no library data to read.
    [[nodiscard]] Result<> read(const std::function<bool(PageView)>& take);

private:
    std::vector<std::string> files_;
};

/// Library pages held in ordinary memory, every page touched.
class PayloadPages {
public:
    /// `wanted` says whether a page is fit for the benchmark.
    [[nodiscard]] static Result<PayloadPages> load(std::uint32_t pages, const std::function<bool(PageView)>& wanted);

    [[nodiscard]] std::uint32_t count() const { return static_cast<std::uint32_t>(region_.pages().pages()); }
    [[nodiscard]] PageView page(std::uint32_t index) const {
        return PageView{region_.data() + index * page_bytes, page_bytes};
    }

private:
    explicit PayloadPages(MappedRegion region) : region_(std::move(region)) {}
    MappedRegion region_;
};

}  // namespace penumbra::bench
