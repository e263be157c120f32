// The third tier: pages on a Redis or Valkey server or cluster, which a fleet may share. Blobs from compressed memory
// are kept as they are.
//
// Nothing is ever guessed: an answer counts only if it is what the table in RAM says of that page, so a missing, stale,
// misdirected or damaged answer is `corrupt` and named. That finds faults; against somebody who may write to the store
// on purpose, use its passwords and ACLs. A store that fails over to a replica may have lost what was written last, and
// then says so here.
//
// Each key is written once (page_key.hpp), so every command may be given twice and arrive late.
//
// Threads: one thread writes at a time; drops, counters and any number of Readers, one thread each, go on beside it. A
// read that races with a drop is safe and answers `corrupt`, or some version of the owner's page: the caller looks at
// its page word again. No lock is held across I/O. Readers end before the tier.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "vmm/memory/tier/file_tier.hpp"
#include "vmm/memory/tier/remote/keeper.hpp"
#include "vmm/memory/tier/remote/remote_options.hpp"

namespace penumbra::vmm {

using RemoteItem = FileItem;
class RemoteReader;

class RemoteTier {
public:
    using Reader = RemoteReader;
    static constexpr std::size_t items_per_pipeline = 128;

    /// Connects, and refuses a server that may evict what it is given. `capacity_bytes` from 256 KiB to 256 TiB.
    [[nodiscard]] static Result<std::unique_ptr<RemoteTier>> create(const RemoteTierOptions& options);
    /// Takes off the store what is stored, as clear() does. What cannot be taken off expires.
    ~RemoteTier();
    RemoteTier(const RemoteTier&) = delete;
    RemoteTier& operator=(const RemoteTier&) = delete;

    /// Returns when the store has confirmed the pages. `outcomes`, as long as `items`, says which were stored; the
    /// result is the first failure in full words. Pages already stored are never harmed by a failure. Takes at most the
    /// answer timeout and twice the connect timeout for each items_per_pipeline of `items`.
    [[nodiscard]] StoreResult<> write_batch(std::span<const RemoteItem> items, std::span<StoreOutcome> outcomes);
    /// No I/O: the pages leave the store a little later. Until then they count against the capacity.
    void drop(StoreHandle handle) { drop_batch({&handle, 1}); }
    void drop_batch(std::span<const StoreHandle> handles);
    /// Whether the page was stored with exactly these contents. Never true of a handle that stores another page. No
    /// I/O.
    [[nodiscard]] bool matches(StoreHandle handle, const PageOwner& owner, ConstPageBytes page) const;
    /// One for each thread that reads; connects.
    [[nodiscard]] Result<std::unique_ptr<RemoteReader>> make_reader();
    /// The end of the VM: nothing stays on the store. Afterwards there is only health() and the destructor to call.
    [[nodiscard]] Result<> clear();

    [[nodiscard]] std::uint64_t pages() const { return book_->pages(); }
    [[nodiscard]] std::uint64_t capacity_bytes() const { return book_->capacity_slots() << page_shift; }
    /// RAM for what is known of stored pages.
    [[nodiscard]] std::uint64_t bookkeeping_bytes() const { return book_->bookkeeping_bytes(); }
    [[nodiscard]] RemoteHealth health() const;
    /// What messages call the store.
    [[nodiscard]] const std::string& name() const { return name_; }
    /// All keys of this VM start so.
    [[nodiscard]] std::string key_prefix() const { return std::string{keys_.prefix()}; }

private:
    friend class RemoteReader;
    class Writing;

    RemoteTier(RemoteAccess access, std::string name, VmId vm, std::unique_ptr<SlotBook> book,
               std::chrono::milliseconds expiry);

    [[nodiscard]] StoreResult<> write_some(std::span<const RemoteItem> items, std::span<StoreOutcome> outcomes);
    [[nodiscard]] std::size_t take_slots(Writing& batch);

    const RemoteAccess access_;
    const std::string name_;
    const PageKeys keys_;
    const std::string expiry_;  // in milliseconds, as a command has it
    std::unique_ptr<SlotBook> book_;
    RemoteStatus status_;
    Link link_;  // the writer's
    std::unique_ptr<Keeper> keeper_;
};

}  // namespace penumbra::vmm
