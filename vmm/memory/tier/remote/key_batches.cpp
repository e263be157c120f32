#include "vmm/memory/tier/remote/key_batches.hpp"

#include <array>
#include <string>

#include "base/planted.hpp"

namespace penumbra::vmm {

namespace {

class KeyBatch : public Exchange {
public:
    explicit KeyBatch(const PageKeys& keys) : keys_(keys) {}
    [[nodiscard]] std::size_t size() const override { return count; }
    [[nodiscard]] PageKey key(std::size_t item) const override {
        return keys_.of(slots[item].page, slots[item].serial);
    }

    std::array<SlotKey, keys_per_batch> slots;
    std::size_t count = 0;

private:
    const PageKeys& keys_;
};

class Unlinking final : public KeyBatch {
public:
    using KeyBatch::KeyBatch;
    [[nodiscard]] StoreCommand command(std::size_t item) override { return {"UNLINK", key(item).view()}; }
    void answered(std::size_t item, const redisReply&) override { gone[gone_count++] = slots[item].slot; }
    void failed(std::size_t item, const StoreError&, Effect) override { kept[kept_count++] = slots[item].slot; }
    [[nodiscard]] const char* act() const override { return "take pages off the page store"; }

    std::array<std::uint64_t, keys_per_batch> gone;
    std::array<std::uint64_t, keys_per_batch> kept;
    std::size_t gone_count = 0;
    std::size_t kept_count = 0;
};

class Renewing final : public KeyBatch {
public:
    Renewing(const PageKeys& keys, const SlotBook& book, RemoteStatus& status, std::chrono::milliseconds expiry)
        : KeyBatch(keys), book_(book), status_(status), expiry_(std::to_string(expiry.count())) {}
    [[nodiscard]] StoreCommand command(std::size_t item) override { return {"PEXPIRE", key(item).view(), expiry_}; }
    void answered(std::size_t item, const redisReply& reply) override {
        if ((reply.type == REDIS_REPLY_INTEGER && reply.integer == 1) || !book_.still_stored(slots[item])) return;
        status_.lost_pages.add();
        status_.note_failure({"find a stored page", "page " + std::to_string(slots[item].page), 0,
                              "keep the page store's data: it was restarted, flushed or out of reach for too long"});
    }
    void failed(std::size_t, const StoreError&, Effect) override { all_reached = false; }
    [[nodiscard]] const char* act() const override { return "keep pages on the page store"; }

    bool all_reached = true;

private:
    const SlotBook& book_;
    RemoteStatus& status_;
    const std::string expiry_;
};

}  // namespace

TakenOff take_off(Link& link, SlotBook& book, const PageKeys& keys) {
    Unlinking batch{keys};
    batch.count = book.claim_leaving(batch.slots);
    if (batch.count == 0) return {};
    link.run(batch);
    book.end(std::span{batch.gone}.first(batch.gone_count));
    book.unclaim(std::span{batch.kept}.first(batch.kept_count));
    return {batch.count, batch.gone_count};
}

bool renew(Link& link, SlotBook& book, const PageKeys& keys, RemoteStatus& status, std::chrono::milliseconds expiry,
           std::uint64_t& cursor) {
    Renewing batch{keys, book, status, expiry};
    std::uint64_t behind = cursor;
    batch.count = book.next_stored(behind, batch.slots);
    if (batch.count > 0 && !planted(Plant::remote_forgets_renewal)) link.run(batch);
    if (batch.all_reached) cursor = behind;
    return batch.all_reached;
}

}  // namespace penumbra::vmm
