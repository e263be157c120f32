#include "vmm/memory/tier/remote/remote_tier.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/assert.hpp"
#include "base/planted.hpp"
#include "vmm/memory/tier/page_check.hpp"

namespace penumbra::vmm {

/// What one pipeline carries to the store.
class RemoteTier::Writing final : public Exchange {
public:
    Writing(RemoteTier& tier, std::span<const RemoteItem> from, std::span<StoreOutcome> to)
        : items(from), outcomes(to), tier_(tier) {}

    [[nodiscard]] std::size_t size() const override { return count; }
    [[nodiscard]] PageKey key(std::size_t item) const override {
        return tier_.keys_.of(slots[item].page, slots[item].serial);
    }
    [[nodiscard]] StoreCommand command(std::size_t item) override {
        const std::size_t bytes = write_value(forms[item], items[item].bytes, value_);
        if (planted(Plant::corrupt_stored_page)) flip_one_bit(std::span{value_}.subspan(value_header_bytes, 1));
        const std::string_view value{reinterpret_cast<const char*>(value_.data()), bytes};
        return {"SET", key(item).view(), value, "PX", tier_.expiry_};
    }
    void answered(std::size_t item, const redisReply& reply) override {
        if (reply.type == REDIS_REPLY_STATUS && text_of(reply) == "OK") {
            tier_.book_->stored(slots[item].slot);
            outcomes[item] = {StoreHandle{slots[item].slot}, std::nullopt};
            return;
        }
        failed(item, {StoreFailure::io, Error{act(), tier_.name(), EPROTO, "use a server that answers SET with OK"}},
               Effect::unknown);
    }
    void failed(std::size_t item, const StoreError& error, Effect effect) override {
        outcomes[item] = {StoreHandle{}, error.failure};
        if (result) result = std::unexpected{error};
        if (effect == Effect::none) return tier_.book_->give_back(slots[item].slot);
        tier_.book_->doubtful(slots[item].slot);
        ++doubtful;
    }
    [[nodiscard]] const char* act() const override { return "write pages to the page store"; }

    std::span<const RemoteItem> items;
    std::span<StoreOutcome> outcomes;
    std::array<PageForm, items_per_pipeline> forms;
    std::array<SlotKey, items_per_pipeline> slots;
    std::size_t count = 0;
    std::size_t doubtful = 0;
    StoreResult<> result;

private:
    RemoteTier& tier_;
    std::array<std::byte, largest_value> value_;
};

Result<std::unique_ptr<RemoteTier>> RemoteTier::create(const RemoteTierOptions& options) {
    PENUMBRA_TRY_ASSIGN(RemoteUrl url, RemoteUrl::parse(options.url));
    const std::uint64_t capacity = options.capacity_bytes / page_bytes;
    if (capacity < SlotBook::fewest_slots || capacity >> store_handle_bits != 0) {
        return fail("use " + std::to_string(options.capacity_bytes) + " bytes of the page store", url.text(),
                    "give it 256 KiB to 256 TiB");
    }
    if (options.expiry < shortest_expiry || options.expiry > longest_expiry) {
        return fail("let pages expire after " + std::to_string(options.expiry.count()) + " ms", url.text(),
                    "give it 1 second to 30 days");
    }
    VmId vm;
    if (options.vm) {
        vm = *options.vm;
    } else {
        PENUMBRA_TRY_ASSIGN(vm, VmId::random());
    }
    PENUMBRA_TRY_ASSIGN(auto book, SlotBook::create(capacity));
    std::string name = url.text();
    RemoteAccess access{.kind = url.kind,
                        .seeds = std::move(url.seeds),
                        .database = url.database,
                        .user = options.user.empty() ? std::move(url.user) : options.user,
                        .password = options.password.empty() ? std::move(url.password) : options.password,
                        .connect_timeout = options.connect_timeout,
                        .answer_timeout = options.answer_timeout};
    std::unique_ptr<RemoteTier> tier{
        new RemoteTier(std::move(access), std::move(name), vm, std::move(book), options.expiry)};
    PENUMBRA_TRY(tier->link_.open());
    return tier;
}

RemoteTier::RemoteTier(RemoteAccess access, std::string name, VmId vm, std::unique_ptr<SlotBook> book,
                       std::chrono::milliseconds expiry)
    : access_(std::move(access)),
      name_(std::move(name)),
      keys_(vm),
      expiry_(std::to_string(expiry.count())),
      book_(std::move(book)),
      link_(access_, status_),
      keeper_(std::make_unique<Keeper>(*book_, keys_, access_, status_, expiry)) {}

RemoteTier::~RemoteTier() {
    (void)clear();  // a failure leaves the rest to its expiry
}

Result<> RemoteTier::clear() {
    keeper_.reset();
    book_->leave_all();
    for (;;) {
        const TakenOff done = take_off(link_, *book_, keys_);
        if (done.tried == 0) return {};
        if (done.gone == done.tried) continue;
        return fail("take all pages off the page store", name_, "nothing: they expire after " + expiry_ + " ms");
    }
}

StoreResult<> RemoteTier::write_batch(std::span<const RemoteItem> items, std::span<StoreOutcome> outcomes) {
    PENUMBRA_ASSERT(outcomes.size() >= items.size(), "an outcome for every item");
    std::ranges::fill(outcomes, StoreOutcome{StoreHandle{}, StoreFailure::full});
    StoreResult<> result;
    for (std::size_t at = 0; at < items.size() && result; at += items_per_pipeline) {
        const std::size_t count = std::min(items_per_pipeline, items.size() - at);
        result = write_some(items.subspan(at, count), outcomes.subspan(at, count));
        if (result) continue;
        // What was not tried shares the failure: hammering a failing store helps nobody.
        for (at += count; at < items.size(); ++at) outcomes[at].failure = result.error().failure;
    }
    return result;
}

/// Where all slots are taken but some of their pages are only waiting to be taken off, that is done first.
std::size_t RemoteTier::take_slots(Writing& batch) {
    const std::span forms = std::span{batch.forms}.first(batch.items.size());
    std::size_t taken = book_->take(forms, batch.slots);
    while (taken < forms.size() && take_off(link_, *book_, keys_).gone > 0) {
        taken += book_->take(forms.subspan(taken), std::span{batch.slots}.subspan(taken));
    }
    return taken;
}

StoreResult<> RemoteTier::write_some(std::span<const RemoteItem> items, std::span<StoreOutcome> outcomes) {
    constexpr std::uint64_t version_mask = (std::uint64_t{1} << page_version_bits) - 1;
    Writing batch{*this, items, outcomes};
    for (std::size_t i = 0; i < items.size(); ++i) {
        const RemoteItem& item = items[i];
        PENUMBRA_ASSERT(item.identity.page >> page_index_bits == 0, "page index too large to store");
        batch.forms[i] = {item.check, static_cast<std::uint32_t>(item.identity.page),
                          static_cast<std::uint32_t>(item.identity.version & version_mask), item.length, item.encoding};
    }
    batch.count = take_slots(batch);
    if (batch.count > 0) link_.run(batch);
    if (batch.doubtful > 0) keeper_->notice(batch.doubtful, book_->leaving());
    if (batch.count < items.size() && batch.result) {
        return std::unexpected{StoreError{
            StoreFailure::full, Error{"find room in the page store", name_, ENOSPC, "give this VM more capacity"}}};
    }
    return batch.result;
}

void RemoteTier::drop_batch(std::span<const StoreHandle> handles) {
    keeper_->notice(handles.size(), book_->leave(handles));
}

bool RemoteTier::matches(StoreHandle handle, const PageOwner& owner, ConstPageBytes page) const {
    std::optional<SlotBook::Found> found;
    book_->look_up({&handle, 1}, {&found, 1});
    return found && found->form.page == owner.page &&
           page_check({owner.vm, owner.page, found->form.version}, page) == found->form.check;
}

RemoteHealth RemoteTier::health() const {
    RemoteHealth health = status_.health();
    health.pending_drops = book_->leaving();
    return health;
}

}  // namespace penumbra::vmm
