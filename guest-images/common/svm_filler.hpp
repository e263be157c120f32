// The rest of memory: nobody maps it, but its use keeps the pager busy, so that data pages and tables are swapped too.
#pragma once

#include <cstdint>

#include "guest-images/common/rng.hpp"
#include "guest-images/common/svm_shared.hpp"

namespace penumbra::guest {

/// Each vCPU has every cpus-th page.
template <class Platform>
class SvmFiller {
public:
    SvmFiller(SvmShared<Platform>& shared, std::uint64_t seed)
        : shared_(shared),
          versions_(reinterpret_cast<std::uint32_t*>(shared.platform().ram(shared.layout().versions()))),
          random_(seed),
          cpu_(shared.platform().cpu()),
          owned_((shared.layout().filler_pages() + shared.boot().cpus - 1 - cpu_) / shared.boot().cpus) {}

    void fill() {
        for (std::uint64_t own = 0; own < owned_; ++own) write(page(own));
    }
    /// Verifies one page and rewrites it.
    void touch() {
        const std::uint64_t chosen = page(random_.below(owned_));
        verify(chosen);
        write(chosen);
    }
    void verify_all() {
        for (std::uint64_t own = 0; own < owned_; ++own) verify(page(own));
    }

private:
    [[nodiscard]] std::uint64_t page(std::uint64_t own) const { return own * shared_.boot().cpus + cpu_; }
    [[nodiscard]] std::uint64_t tag(std::uint64_t page) const {
        return SvmTag{SvmKind::filler, static_cast<std::uint32_t>(page & 0xFF'FFFF), versions_[page]}.word();
    }
    void write(std::uint64_t page) {
        ++versions_[page];
        write_svm_page(shared_.platform().ram(shared_.layout().filler(page)), tag(page));
    }
    void verify(std::uint64_t page) {
        const std::uint64_t gpa = shared_.layout().filler(page);
        const std::uint8_t* const bytes = shared_.platform().ram(gpa);
        __atomic_fetch_add(&shared_.world().filler_verified, 1, __ATOMIC_RELAXED);
        if (!svm_page_is(bytes, tag(page))) shared_.complain_of("filler page", gpa, svm_tag_of(bytes), tag(page));
    }

    SvmShared<Platform>& shared_;
    std::uint32_t* versions_;
    Random random_;
    std::uint64_t cpu_;
    std::uint64_t owned_;
};

}  // namespace penumbra::guest
