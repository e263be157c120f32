#include "bench/common/table_subject.hpp"

#include <utility>

#include "shadow-mmu/table/bulk.hpp"
#include "shadow-mmu/table/populate.hpp"

namespace penumbra::bench {

namespace {

constexpr Hvp host_first{1ULL << 30};

}  // namespace

Result<> TableSubject::create(std::optional<TableSubject>& made) {
    PENUMBRA_TRY_ASSIGN(mmu::NodeArena arena, mmu::NodeArena::create(mmu::NodeArena::nodes_for(mapped_pages)));
    made.emplace(mmu::Memslots({{GfnRange{first_frame, mapped_pages}, host_first}}), std::move(arena));
    made->map_all();  // the memory is touched before anything is measured
    made->unmap_all();
    return {};
}

TableSubject::TableSubject(mmu::Memslots memslots, mmu::NodeArena arena)
    : TableBase(std::move(memslots), std::move(arena)), large_pages_(memslots_) {}

void TableSubject::map_all() {
    (void)mmu::map_alone(table_, everything(), host(), mmu::rights_of(mmu::Permission::read_write));
}

void TableSubject::unmap_all() {
    mmu::FlushBatch<NoFlush> batch(no_flush_);
    mmu::zap_alone(table_, everything(), batch, [](Gfn, std::uint64_t, Level) {});
}

void TableSubject::link(std::span<const std::uint32_t> order) {
    unmap_all();
    for (std::size_t i = 0; i < order.size(); ++i) {
        const GfnRange one{first_frame + order[i], 1};
        (void)mmu::map_alone(table_, one, host() + order[(i + 1) % order.size()], mmu::Rights{mmu::Right::execute});
    }
}

void TableSubject::claim_each(std::span<const std::uint32_t> pages) {
    for (const std::uint32_t page : pages) {
        Cursor entry;
        PENUMBRA_ASSERT(claim(first_frame + page, entry) == mmu::Claim::taken, "an entry was not empty");
        publish(entry, host() + page);
    }
}

void TableSubject::populate(std::uint64_t first, std::uint64_t pages) {
    const auto outcome =
        mmu::populate(table_, GfnRange{first_frame + first, pages}, host() + first,
                      mmu::rights_of(mmu::Permission::read_write), [](GfnRange, HvpRange) { return true; });
    PENUMBRA_ASSERT(outcome == mmu::PopulateResult::done, "not everything was mapped");
}

std::uint64_t TableSubject::zap(std::uint64_t first, std::uint64_t pages, mmu::TablePages table_pages) {
    std::uint64_t gone = 0;
    mmu::Zapper<Table, NoFlush> zapper(table_, no_flush_);
    zapper.zap(GfnRange{first_frame + first, pages}, table_pages, [&](Gfn, std::uint64_t, Level) { ++gone; });
    return gone;
}

std::uint64_t TableSubject::beside_bytes() const {
    const std::uint64_t regions = mapped_pages / pages_spanned(Level::page_2m) + 1;
    return regions * sizeof(std::uint32_t);  // LargePages' counts
}

}  // namespace penumbra::bench
