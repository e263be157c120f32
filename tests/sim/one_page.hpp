// The page source of a scene with one page: keeps its content while it is out.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/schedule_point.hpp"
#include "shadow-mmu/fault/page_source.hpp"
#include "tests/sim/host_memory.hpp"

namespace penumbra::test::sim {

/// Keeps the page while it is out.
class OnePage final : public mmu::PageSource {
public:
    OnePage() : memory_(std::make_unique<std::array<std::byte, page_bytes>>()) {}

    [[nodiscard]] Result<mmu::ResolvedPage> resolve(Hvp, mmu::FaultAccess) override {
        schedule_point(Step::entry_read, &version_);
        return mmu::ResolvedPage{.content = content(), .ticket = version_};
    }
    [[nodiscard]] std::optional<mmu::Content> commit(Hvp, mmu::ResolvedPage& resolved) override {
        if (resolved.ticket != version_) return std::nullopt;
        resident_ = true;
        return resolved.content;
    }
    void conclude(Hvp, mmu::ResolvedPage&, mmu::Conclusion) override {}
    /// The page left with that content; unless it was forgotten meanwhile.
    void keep(Stamp stamp) {
        schedule_point(Step::entry_write, &version_);
        if (resident_) replace(stamp);
    }
    void forget() {
        schedule_point(Step::entry_write, &version_);
        replace(0);
    }
    [[nodiscard]] bool resident() const { return resident_; }
    [[nodiscard]] const std::uint64_t& version() const { return version_; }
    [[nodiscard]] Stamp stamp() const { return stamp_at(memory_->data()); }

private:
    void replace(Stamp stamp) {
        ++version_;
        resident_ = false;
        put_stamp(memory_->data(), stamp);
    }
    [[nodiscard]] mmu::Content content() const { return {mmu::Content::Kind::copy, hva_of(memory_->data())}; }

    std::unique_ptr<std::array<std::byte, page_bytes>> memory_;
    std::uint64_t version_ = 0;  // grows with every change of where the content is
    bool resident_ = false;
};

}  // namespace penumbra::test::sim
