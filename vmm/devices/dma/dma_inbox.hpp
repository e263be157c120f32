// Where a client's wishes wait for their pages, and granted pages for the client's loop.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <unordered_map>

#include "base/mutex.hpp"
#include "shadow-mmu/tables/io_table.hpp"
#include "vmm/devices/dma/dma_space.hpp"

namespace penumbra::vmm {

/// The callbacks belong to the loop's thread and are called and destroyed there only. Workers know wishes by number;
/// what they bring comes with its hold, which is released after the callback, or at once if the wish was forgotten.
class DmaInbox final : public std::enable_shared_from_this<DmaInbox> {
public:
    struct Grant {
        std::uint64_t wish = 0;
        DmaGrant what = DmaGrant::not_ram;
        Gfn gfn;
        std::shared_ptr<const mmu::IoTable::Hold> hold;  ///< of the page, when it is present
    };

    explicit DmaInbox(IoLoop& loop) : loop_(loop) {}
    DmaInbox(const DmaInbox&) = delete;
    DmaInbox& operator=(const DmaInbox&) = delete;

    // ---- the loop's thread ----
    [[nodiscard]] std::uint64_t add(DmaClient::Then then);
    [[nodiscard]] std::size_t waiting() const { return wishes_.size(); }
    /// Forgets every wish and lets go of what was granted.
    void clear() EXCLUDES(mutex_);
    /// Another hold of the page that the callback running now was given, or nullopt.
    [[nodiscard]] std::optional<mmu::IoTable::Hold> hold_granted(Gfn gfn, mmu::HoldFor purpose) const;

    // ---- any thread ----
    /// Hands a grant to the loop. Once closed, lets go of it.
    void give(Grant grant) EXCLUDES(mutex_);
    /// The loop is not posted to any more, and what waits for it is let go.
    void close() EXCLUDES(mutex_);

private:
    void deliver();
    [[nodiscard]] std::optional<Grant> next() EXCLUDES(mutex_);

    IoLoop& loop_;
    std::unordered_map<std::uint64_t, DmaClient::Then> wishes_;  // the loop's thread
    std::uint64_t last_wish_ = 0;                                // the loop's thread
    const Grant* current_ = nullptr;                             // the loop's thread: whose callback is running
    mutable Mutex mutex_{LockRank::dma_inbox};
    std::deque<Grant> granted_ GUARDED_BY(mutex_);
    bool posted_ GUARDED_BY(mutex_) = false;  // deliver() will run
    bool closed_ GUARDED_BY(mutex_) = false;
};

}  // namespace penumbra::vmm
