// A table as the machine has them, with nothing behind it: every page is there, a flush costs nothing.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "bench/common/bare_table.hpp"
#include "shadow-mmu/fault/page_source.hpp"
#include "shadow-mmu/format/ept_format.hpp"
#include "shadow-mmu/table/large_pages.hpp"
#include "shadow-mmu/table/zap.hpp"
#include "shadow-mmu/tables/table_base.hpp"

namespace penumbra::bench {

class TableSubject final : public mmu::TableBase<mmu::EptFormat> {
public:
    /// Into `made`: a table stays where it is.
    [[nodiscard]] static Result<> create(std::optional<TableSubject>& made);
    TableSubject(mmu::Memslots memslots, mmu::NodeArena arena);

    [[nodiscard]] static std::string_view name() { return "subject"; }
    [[nodiscard]] static Result<> fill(Gfn, Hvp, const mmu::Content&) { return {}; }
    [[nodiscard]] mmu::PageSource& source() { return source_; }

    [[nodiscard]] Hvp host() const { return memslots_.slots().front().host; }
    /// By one writer.
    void map_all();
    void unmap_all();
    /// Each leaf names, relative to host(), the page to look at next, once around all of them.
    void link(std::span<const std::uint32_t> order);
    /// Claims and publishes each page by number, as faults do.
    void claim_each(std::span<const std::uint32_t> pages);
    /// Maps pages by number in the shared mode, as a range.
    void populate(std::uint64_t first, std::uint64_t pages);
    /// Takes pages by number out; how many there were.
    std::uint64_t zap(std::uint64_t first, std::uint64_t pages, mmu::TablePages table_pages);
    /// Of what lies beside the table pages.
    [[nodiscard]] std::uint64_t beside_bytes() const;

private:
    struct NoFlush {
        using Run = GfnRange;
        static constexpr std::size_t capacity = 64;
        void flush(std::span<const GfnRange>) const {}
        void flush_all() const {}
    };
    class EveryPage final : public mmu::PageSource {
    public:
        [[nodiscard]] Result<mmu::ResolvedPage> resolve(Hvp, mmu::FaultAccess) override { return mmu::ResolvedPage{}; }
        [[nodiscard]] std::optional<mmu::Content> commit(Hvp, mmu::ResolvedPage& page) override { return page.content; }
        void conclude(Hvp, mmu::ResolvedPage&, mmu::Conclusion) override {}
    };
    [[nodiscard]] GfnRange everything() const { return memslots_.slots().front().guest; }
    EveryPage source_;
    NoFlush no_flush_;
    mmu::LargePages large_pages_;
};

}  // namespace penumbra::bench
