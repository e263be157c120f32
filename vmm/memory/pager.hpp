// The pager as the fault path sees it: where a page is, and how it comes back. Implements the page source of EptTable.
#pragma once

#include <memory>
#include <vector>

#include "base/mutex.hpp"
#include "shadow-mmu/fault/page_source.hpp"
#include "vmm/memory/pager_state.hpp"
#include "vmm/memory/reclaim.hpp"

namespace penumbra::vmm {

class Pager final : public mmu::PageSource {
public:
    /// `readers` bounds how many faults read slow tiers at once.
    [[nodiscard]] static Result<std::unique_ptr<Pager>> create(PagerState& state, Reclaimer& reclaimer,
                                                               unsigned readers);

    [[nodiscard]] Result<mmu::ResolvedPage> resolve(Hvp page, mmu::FaultAccess access) override {
        return resolve(page, Room::wait, access);
    }
    [[nodiscard]] std::optional<mmu::Content> commit(Hvp page, mmu::ResolvedPage& resolved) override;
    void conclude(Hvp page, mmu::ResolvedPage& resolved, mmu::Conclusion conclusion) override;

    /// The same for a thread that may not wait for room: that there is none is an error.
    [[nodiscard]] mmu::PageSource& at_once() { return at_once_; }

    /// Reads those of the pages that are in a slow tier, all at once, into a buffer of the calling thread; its next
    /// faults on them need no I/O. A page that moves meanwhile is simply read again.
    void read_ahead(std::span<const Hvp> pages);

    /// True while the reclaimer has, or is about to have, work: CPUs have better use then than waiting.
    [[nodiscard]] bool is_under_pressure() const { return reclaimer_.is_near_work(); }

    /// True when the page is on a slow medium: its fault belongs on a thread that may wait milliseconds.
    [[nodiscard]] bool is_slow(Hvp page) const { return is_slow(state_.words.load(state_.index_of(page))); }

private:
    enum class Room : std::uint8_t { wait, at_once };
    class AtOnce final : public mmu::PageSource {
    public:
        explicit AtOnce(Pager& pager) : pager_(pager) {}
        [[nodiscard]] Result<mmu::ResolvedPage> resolve(Hvp page, mmu::FaultAccess access) override {
            return pager_.resolve(page, Room::at_once, access);
        }
        [[nodiscard]] std::optional<mmu::Content> commit(Hvp page, mmu::ResolvedPage& resolved) override {
            return pager_.commit(page, resolved);
        }
        void conclude(Hvp page, mmu::ResolvedPage& resolved, mmu::Conclusion conclusion) override {
            pager_.conclude(page, resolved, conclusion);
        }

    private:
        Pager& pager_;
    };

    Pager(PagerState& state, Reclaimer& reclaimer) : state_(state), reclaimer_(reclaimer) {}

    [[nodiscard]] Result<mmu::ResolvedPage> resolve(Hvp page, Room room, mmu::FaultAccess access);
    [[nodiscard]] static bool is_slow(PageWord word) {
        return word.state() == PageState::stored || word.state() == PageState::remote;
    }
    [[nodiscard]] Result<> charge(Room room);
    /// Fills the calling thread's buffer from a tier. nullopt: the page moved meanwhile, look again.
    [[nodiscard]] Result<std::optional<Hva>> load(PageIndex page, PageWord word);
    [[nodiscard]] StoreResult<> read_slow(PageIndex page, PageWord word, PageBytes out);
    [[nodiscard]] std::unique_ptr<SlowReader> borrow_reader() EXCLUDES(readers_mutex_);
    void return_reader(std::unique_ptr<SlowReader> reader) EXCLUDES(readers_mutex_);
    [[nodiscard]] Result<> wait_while_held(PageIndex page) const;
    void put_word_back(PageIndex page, PageWord ticket);
    void settle_copy(PageIndex page, const mmu::ResolvedPage& resolved, PageCopy copy);

    PagerState& state_;
    Reclaimer& reclaimer_;
    AtOnce at_once_{*this};
    Mutex readers_mutex_{LockRank::tier};
    CondVar reader_free_;
    std::vector<std::unique_ptr<SlowReader>> readers_ GUARDED_BY(readers_mutex_);
};

}  // namespace penumbra::vmm
