// A window and a pager without a kernel: the window is plain memory that the test may always look at, and a page that
// was taken out of it is poisoned, so that whoever goes on through a stale translation reads wrong bytes instead of
// faulting.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/counters.hpp"
#include "base/mapped_region.hpp"
#include "base/mutex.hpp"
#include "notifier-bridge/address_space.hpp"
#include "shadow-mmu/fault/page_source.hpp"
#include "shadow-mmu/flush/window_port.hpp"

namespace penumbra::test {

inline constexpr std::byte poison{0xDB};

/// A mapping of `pages` pages; aborts when there is no memory.
[[nodiscard]] MappedRegion make_region(std::uint64_t pages);

/// Thread-safe as its caller promises to be: never two calls for one page at once.
class FakeWindow final : public mmu::WindowPort {
public:
    /// Every page is out at first.
    explicit FakeWindow(std::uint64_t pages);

    [[nodiscard]] Result<> put_in(Hvp page, mmu::Content content) override;
    [[nodiscard]] std::size_t take_out(HvpRange run, Hvp staging) override;
    void drop(HvpRange run) override;
    void wake(HvpRange) override { wakes_.add(); }
    [[nodiscard]] Result<> protect(HvpRange run) override;
    void unprotect(HvpRange run) override;

    [[nodiscard]] HvpRange pages() const { return region_.pages(); }
    [[nodiscard]] bool present(Hvp page) const { return flag(page).load(std::memory_order_acquire); }
    /// take_out leaves this page where it is, until told otherwise.
    void keep(std::optional<Hvp> page) { kept_.store(page ? page->value() : 0, std::memory_order_release); }
    /// protect() fails from now on, or does not.
    void refuse_protection(bool refuse) { refuses_.store(refuse, std::memory_order_release); }
    [[nodiscard]] bool is_protected(Hvp page) const {
        return protected_[page - region_.pages().first()].load(std::memory_order_acquire);
    }
    /// Calls of protect().
    [[nodiscard]] std::uint64_t protections() const { return protections_.get(); }

    /// Pages put where one was, or taken or protected where none was: the caller broke its promise.
    [[nodiscard]] std::uint64_t violations() const { return violations_.get(); }
    [[nodiscard]] std::uint64_t put_ins() const { return put_ins_.get(); }
    [[nodiscard]] std::uint64_t taken() const { return taken_.get(); }
    [[nodiscard]] std::uint64_t wakes() const { return wakes_.get(); }

private:
    [[nodiscard]] std::atomic<bool>& flag(Hvp page) { return present_[page - region_.pages().first()]; }
    [[nodiscard]] const std::atomic<bool>& flag(Hvp page) const { return present_[page - region_.pages().first()]; }
    void leave(Hvp page);

    MappedRegion region_;
    std::vector<std::atomic<bool>> present_;
    std::vector<std::atomic<bool>> protected_;
    std::atomic<std::uint64_t> kept_{0};
    std::atomic<bool> refuses_{false};
    Counter protections_;
    Counter violations_;
    Counter put_ins_;
    Counter taken_;
    Counter wakes_;
};

/// A pager that keeps every page's content in memory while it is out of the window. Thread-safe.
class FakePages final : public mmu::PageSource {
public:
    explicit FakePages(HvpRange window);

    [[nodiscard]] Result<mmu::ResolvedPage> resolve(Hvp page, mmu::FaultAccess access) override;
    [[nodiscard]] std::optional<mmu::Content> commit(Hvp page, mmu::ResolvedPage& resolved) override;
    void conclude(Hvp page, mmu::ResolvedPage& resolved, mmu::Conclusion conclusion) override;

    /// Takes back a page that left the window, before its invalidation ends.
    void save(Hvp page, const std::byte* content);

    enum class Mood { serve, fail, hold };
    /// From now on resolve answers, fails, or waits until the mood changes.
    void set_mood(Mood mood);
    [[nodiscard]] std::uint64_t resolves() const { return resolves_.get(); }
    [[nodiscard]] std::uint64_t waiting() const { return waiting_.get(); }

private:
    struct Page {
        std::uint64_t version = 0;  // grows with every move in or out
        bool in_window = false;
        bool zero = true;  // never saved
    };
    [[nodiscard]] std::byte* content_of(Hvp page) const {
        return store_.data() + (page - window_.first()) * page_bytes;
    }

    const HvpRange window_;
    MappedRegion store_;
    Mutex mutex_{LockRank::leaf};
    CondVar mood_changed_;
    std::vector<Page> states_ GUARDED_BY(mutex_);
    Mood mood_ GUARDED_BY(mutex_) = Mood::serve;
    Counter resolves_;
    Counter waiting_;
};

/// Takes pages out of the window by one bracketed swap_out and saves what came. `staging` has a page per page of
/// `ranges`. Returns how many pages were taken; nullopt: the event was not blockable and somebody would have had to
/// wait.
std::optional<std::uint64_t> swap_out(bridge::AddressSpace& space, FakePages& pager, const bridge::RangeSet& ranges,
                                      const MappedRegion& staging,
                                      bridge::Blockable blockable = bridge::Blockable::yes);

}  // namespace penumbra::test
