// What the kernel says is present: /proc/self/pagemap (Documentation/admin-guide/mm/pagemap.rst).
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "base/range.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace penumbra::vmm {

class Pagemap {
public:
    [[nodiscard]] static Result<Pagemap> open();

    /// One flag per page of `range`: held by this process's page tables now, be it in the host's swap. Touches nothing.
    [[nodiscard]] Result<std::vector<bool>> present(HvpRange range) const;
    [[nodiscard]] Result<bool> is_present(Hvp page) const;

private:
    explicit Pagemap(UniqueFd fd) : fd_(std::move(fd)) {}
    UniqueFd fd_;
};

}  // namespace penumbra::vmm
