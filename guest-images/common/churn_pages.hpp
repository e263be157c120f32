// One vCPU's hold on its pages: what each should contain now, its next contents, and the word when it is wrong.
#pragma once

#include <cstdint>

#include "guest-images/common/churn_page.hpp"
#include "guest-images/common/churn_shared.hpp"

namespace penumbra::guest {

template <class Platform>
class ChurnPages {
public:
    ChurnPages(Platform& platform, const abi::BootInfo& boot, const ChurnLayout& layout, ChurnShared<Platform>& shared)
        : platform_(platform), layout_(layout), shared_(shared), payload_pages_(boot.payload_pages) {}

    [[nodiscard]] PageState& state(std::uint64_t page) {
        return *reinterpret_cast<PageState*>(platform_.ram(layout_.state(page)));
    }

    void rewrite(std::uint64_t page) {
        PageState& now = state(page);
        const std::uint64_t gpa = layout_.gpa(page);
        const std::uint64_t gfn = gpa / page_bytes;
        const std::uint32_t generation = now.generation + 1;
        const std::uint8_t* const payload =
            payload_pages_ == 0 ? nullptr : platform_.payload(mix(gfn, generation) % payload_pages_);
        write_page(platform_.ram(gpa), payload, gfn, generation, platform_.cpu());
        now.generation = generation;
    }
    /// Counts the verdict, and names a wrong page.
    void verify(std::uint64_t page) {
        PageState& now = state(page);
        const std::uint64_t gpa = layout_.gpa(page);
        const PageVerdict verdict = judge_page(platform_.ram(gpa), gpa / page_bytes, now.generation);
        if (verdict != PageVerdict::right) return complain(gpa, now, verdict);
        add_own(shared_.own().verified);
        if (now.verified != 0xFFFF) ++now.verified;
    }

private:
    void complain(std::uint64_t gpa, const PageState& now, PageVerdict verdict) {
        shared_.count_mismatch(gpa);
        if (!shared_.may_complain()) return;
        const Stamp found = stamp_of(platform_.ram(gpa), gpa / page_bytes);
        TextLine line = shared_.line();
        line.text("page gpa ").hex(gpa).text(" expected generation ").number(now.generation);
        line.text(", found ").number(found.generation).text(": ").text(describe(verdict));
        shared_.say();
    }

    Platform& platform_;
    const ChurnLayout& layout_;
    ChurnShared<Platform>& shared_;
    std::uint64_t payload_pages_;
};

}  // namespace penumbra::guest
