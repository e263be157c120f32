#include "vmm/memory/tier/remote/remote_reader.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string>

#include "base/assert.hpp"

namespace penumbra::vmm {

namespace {

const char* meaning_of(ValueFault fault) {
    switch (fault) {
        case ValueFault::foreign:
            return "the store answered something that Penumbra never stored: let no other program write penumbra:*";
        case ValueFault::other_page:
            return "the store answered another page's contents; the page is not used";
        case ValueFault::other_time:
            return "the store answered another version of the page; the page is not used";
        case ValueFault::damaged:
            return "its check does not match what was stored; the page is not used";
        case ValueFault::none:
            break;
    }
    assertion_failed("a fault", __FILE__, __LINE__, "an answer without a fault is no error");
}

}  // namespace

/// What one pipeline fetches: the items that are stored.
class RemoteReader::Reading final : public Exchange {
public:
    Reading(RemoteTier& tier, std::span<const ReadItem> wanted, std::span<StoreOutcome> to)
        : tier_(tier), items_(wanted), outcomes_(to) {
        std::array<StoreHandle, depth> handles;
        std::ranges::transform(items_, handles.begin(), &ReadItem::handle);
        tier_.book_->look_up(std::span{handles}.first(items_.size()), found_);
        for (std::size_t i = 0; i < items_.size(); ++i) {
            outcomes_[i] = {items_[i].handle, std::nullopt};
            if (found_[i] && found_[i]->form.page == items_[i].owner.page) {
                item_of_[count_++] = i;
            } else {
                fail_one(i, corrupt_page(tier_.name(), items_[i].owner).error());
            }
        }
    }

    [[nodiscard]] std::size_t size() const override { return count_; }
    [[nodiscard]] PageKey key(std::size_t at) const override {
        const SlotBook::Found& found = *found_[item_of_[at]];
        return tier_.keys_.of(found.form.page, found.serial);
    }
    [[nodiscard]] StoreCommand command(std::size_t at) override { return {"GET", key(at).view()}; }
    void answered(std::size_t at, const redisReply& reply) override {
        const std::size_t i = item_of_[at];
        if (reply.type == REDIS_REPLY_NIL) {
            return spoilt(i,
                          "the store has lost it: it was restarted, flushed, failed over or out of reach for too long");
        }
        const std::string_view text = reply.type == REDIS_REPLY_STRING ? text_of(reply) : std::string_view{};
        const ValueFault fault = read_value(std::as_bytes(std::span{text}), items_[i].owner.vm, found_[i]->form,
                                            PageBytes{items_[i].out, page_bytes});
        if (fault != ValueFault::none) spoilt(i, meaning_of(fault));
    }
    void failed(std::size_t at, const StoreError& error, Effect) override {
        StoreError of_page = error;
        of_page.error.object = page_text(item_of_[at]) + " (" + error.error.object + ")";
        fail_one(item_of_[at], std::move(of_page));
    }
    [[nodiscard]] const char* act() const override { return "read from the page store"; }

    StoreResult<> result;

private:
    [[nodiscard]] std::string page_text(std::size_t i) const { return "page " + std::to_string(items_[i].owner.page); }
    void spoilt(std::size_t i, const char* why) {
        fail_one(i, {StoreFailure::corrupt,
                     Error{"trust the stored page", tier_.name() + ", " + page_text(i), 0, std::string{why}}});
    }
    void fail_one(std::size_t i, StoreError error) {
        outcomes_[i].failure = error.failure;
        if (result) result = std::unexpected{std::move(error)};
    }

    RemoteTier& tier_;
    std::span<const ReadItem> items_;
    std::span<StoreOutcome> outcomes_;
    std::array<std::optional<SlotBook::Found>, depth> found_;
    std::array<std::size_t, depth> item_of_{};
    std::size_t count_ = 0;
};

Result<std::unique_ptr<RemoteReader>> RemoteTier::make_reader() {
    std::unique_ptr<RemoteReader> reader{new RemoteReader(*this)};
    PENUMBRA_TRY(reader->link_.open());
    return reader;
}

StoreResult<> RemoteReader::read(StoreHandle handle, const PageOwner& owner, PageBytes out) {
    const ReadItem item{handle, owner, out.data()};
    StoreOutcome outcome;
    return read_batch({&item, 1}, {&outcome, 1});
}

StoreResult<> RemoteReader::read_batch(std::span<const ReadItem> items, std::span<StoreOutcome> outcomes) {
    PENUMBRA_ASSERT(outcomes.size() >= items.size(), "an outcome for every item");
    StoreResult<> result;
    for (std::size_t at = 0; at < items.size(); at += depth) {
        const std::size_t count = std::min<std::size_t>(depth, items.size() - at);
        StoreResult<> some = read_some(items.subspan(at, count), outcomes.subspan(at, count));
        if (!some && result) result = std::move(some);
    }
    return result;
}

StoreResult<> RemoteReader::read_some(std::span<const ReadItem> items, std::span<StoreOutcome> outcomes) {
    Reading batch{tier_, items, outcomes};
    if (batch.size() > 0) link_.run(batch);
    return std::move(batch.result);
}

}  // namespace penumbra::vmm
