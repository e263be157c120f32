#include "tests/support/shadow_world.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "shadow-mmu/guest_walk/guest_walk.hpp"

namespace penumbra::test {

namespace {

/// All of guest memory, present or not; each entry at a moment that is chosen by read, of those since `since`.
class EntriesSince final : public mmu::GuestEntries {
public:
    explicit EntriesSince(const ShadowMemory& memory) : memory_(memory) {}
    EntriesSince(const ShadowMemory& memory, mmu::Tracking tracking, std::uint64_t since)
        : memory_(memory), tracking_(tracking), since_(since) {}

    [[nodiscard]] std::expected<std::uint64_t, mmu::EntryProblem> read(Gpa entry) override {
        if (!ShadowMemory::memslots().to_host(frame_of(entry))) return std::unexpected{mmu::EntryProblem::not_ram};
        const std::size_t level = reads_++;
        const bool lowest = level == 3;
        if (tracking_ == mmu::Tracking::watched || (tracking_ == mmu::Tracking::unsync_leaves && !lowest)) {
            return memory_.word(entry);
        }
        std::vector<std::uint64_t> values{memory_.word(entry)};
        for (const auto& old : memory_.history_of(entry)) {
            if (old.at > since_) values.push_back(old.value);
        }
        counts_[level] = values.size();
        return values[choices_[level] % values.size()];
    }
    [[nodiscard]] mmu::EntryExchange compare_exchange(Gpa, std::uint64_t, std::uint64_t) override {
        return mmu::EntryExchange::read_only;
    }
    void begin_walk() { reads_ = 0; }
    /// The next combination; false after the last.
    [[nodiscard]] bool next() {
        for (std::size_t level = std::min(reads_, choices_.size()); level-- > 0;) {
            if (++choices_[level] < counts_[level]) return true;
            choices_[level] = 0;
            counts_[level] = 1;
        }
        return false;
    }

private:
    const ShadowMemory& memory_;
    mmu::Tracking tracking_ = mmu::Tracking::watched;
    std::uint64_t since_ = 0;
    std::array<std::size_t, 5> choices_{};
    std::array<std::size_t, 5> counts_{1, 1, 1, 1, 1};
    std::size_t reads_ = 0;
};

ShadowWorld::Truth walk(const ShadowWorld::Context& context, Gva address, EntriesSince& entries) {
    const mmu::ContextOptions& options = context.options;
    ShadowWorld::Truth found;
    for (const mmu::AccessKind kind : {mmu::AccessKind::read, mmu::AccessKind::write, mmu::AccessKind::execute}) {
        for (const mmu::Privilege privilege :
             {mmu::Privilege::user, mmu::Privilege::supervisor, mmu::Privilege::implicit_supervisor}) {
            const mmu::GuestAccess access{kind, privilege};
            entries.begin_walk();
            const auto walked =
                mmu::walk_guest(entries, options.mode, {options.root, address, access, mmu::MarkPages::no});
            if (!walked) continue;
            found.page = ShadowMemory::memslots().to_host(frame_of(walked->gpa));
            if (kind != mmu::AccessKind::write || walked->dirty) found.allowed.add(access);
        }
    }
    return found;
}

}  // namespace

Gva gva(std::uint64_t i4, std::uint64_t i3, std::uint64_t i2, std::uint64_t i1) {
    std::uint64_t address = (((i4 << 9 | i3) << 9 | i2) << 9 | i1) << page_shift;
    if (i4 >= 256) address |= ~std::uint64_t{0} << 48;
    return Gva{address};
}

ShadowWorld::ShadowWorld(const ShadowWorldOptions& options)
    : table("shadow", ShadowMemory::memslots(), {memory, memory, tlb}, options.limits, [this] { return now(); }) {
    memory.own = options.own;
    for (std::uint64_t i = 0; i < ShadowMemory::small_pages; ++i) put_in(Gfn{i});
    for (std::uint64_t i = 0; i < 512; ++i) put_in(ShadowMemory::large_area + i);
    window_subscription_ = space.subscribe(memory);
    table_subscription_ = space.subscribe(table);
}

ShadowWorld::~ShadowWorld() = default;

std::size_t ShadowWorld::open(const mmu::ContextOptions& options) {
    const auto id = table.open_context(options);
    PENUMBRA_ASSERT(id.has_value(), "no context left");
    contexts_.push_back({*id, options});
    announced_.push_back({*id, mmu::whole_context, memory.stores()});
    return contexts_.size() - 1;
}

void ShadowWorld::close(std::size_t context) {
    table.close_context(id(context));
    contexts_.erase(contexts_.begin() + static_cast<std::ptrdiff_t>(context));
}

void ShadowWorld::set_root(std::size_t context, std::uint64_t root_page, const mmu::PagingMode& mode) {
    contexts_[context].options.root = Gpa{root_page * page_bytes};
    contexts_[context].options.mode = mode;
    const Announced announced{id(context), mmu::whole_context, memory.stores()};
    table.set_root(id(context), contexts_[context].options.root, mode);
    announced_.push_back(announced);
}

void ShadowWorld::store(std::uint64_t page, std::uint64_t index, std::uint64_t value) {
    while (!memory.try_store(ShadowMemory::at(page, index), value)) {
        put_in(Gfn{page});
        if (memory.is_protected(Gfn{page})) table.written(Gfn{page});
    }
}

void ShadowWorld::evict(Gfn gfn) {
    bridge::InvalidationEvent event;
    event.reason = bridge::Reason::swap_out;
    event.ranges.add({*ShadowMemory::memslots().to_host(gfn), 1});
    const bridge::Invalidation open(space, event);
}

void ShadowWorld::announce(std::size_t context, mmu::GvpRange pages) {
    const Announced announced{id(context), pages, memory.stores()};
    table.invalidate(id(context), pages);
    announced_.push_back(announced);
}

ShadowWorld::Touched ShadowWorld::touch(std::size_t context, Gva address, mmu::GuestAccess access) {
    using enum mmu::ShadowOutcome;
    Touched touched;
    for (unsigned i = 0; i < 64; ++i) {
        if (const auto held = table.access(id(context), address, access)) {
            touched.page = guest_of(held->page);
            return touched;
        }
        touched.answer = table.fault(id(context), address, access);
        switch (touched.answer.outcome) {
            case installed:
            case spurious:
            case retry:
                break;
            case pages_wanted:
                for (const mmu::WantedPage& page : touched.answer.wanted()) put_in(page.gfn);
                break;
            case wait:
                pass(std::chrono::duration_cast<std::chrono::microseconds>(touched.answer.wait_until - now()));
                break;
            default:
                return touched;
        }
    }
    return touched;
}

std::optional<Gfn> ShadowWorld::reach(mmu::ContextId context, Gva address, mmu::GuestAccess access) {
    for (;;) {
        if (const auto held = table.access(context, address, access)) return guest_of(held->page);
        const mmu::ShadowAnswer answer = table.fault(context, address, access);
        for (const mmu::WantedPage& page : answer.wanted()) put_in(page.gfn);
        if (answer.outcome == mmu::ShadowOutcome::wait) pass(std::chrono::microseconds{100});
        if (answer.outcome == mmu::ShadowOutcome::guest_fault) return std::nullopt;
    }
}

ShadowWorld::Truth ShadowWorld::truth(std::size_t context, Gva address) const {
    EntriesSince now(memory);
    return walk(contexts_[context], address, now);
}

bool ShadowWorld::was_true(std::size_t context, mmu::Gvp page, Hvp host, mmu::AllowedAccesses allowed) {
    std::uint64_t since = 0;
    for (const Announced& announced : announced_) {
        if (announced.context == id(context) && announced.pages.contains(page)) since = std::max(since, announced.at);
    }
    EntriesSince entries(memory, table.tracking_of(id(context)), since);
    do {
        const Truth then = walk(contexts_[context], Gva{page.value() << page_shift}, entries);
        if (then.page == host && (allowed.bits() & ~then.allowed.bits()) == 0) return true;
    } while (entries.next());
    return false;
}

std::string ShadowWorld::compare(std::size_t context, mmu::Gvp page, Hvp host, mmu::AllowedAccesses allowed) {
    if (was_true(context, page, host, allowed)) return {};
    const Truth now_true = truth(context, Gva{page.value() << page_shift});
    return fmt::format("context {} maps {:#x} to {:#x} allowing {:#x}; the guest's tables say {:#x} allowing {:#x}",
                       context, page.value(), guest_of(host).value(), allowed.bits(),
                       now_true.page ? guest_of(*now_true.page).value() : ~0ULL, now_true.allowed.bits());
}

std::string ShadowWorld::check_translations() {
    const auto cached = tlb.snapshot();
    for (std::size_t i = 0; i < contexts_.size(); ++i) {
        auto all = table.translations(id(i), 100'000);
        for (const auto& [key, translation] : cached) {
            if (key.first == id(i)) all.push_back({key.second, translation.page, translation.allowed});
        }
        for (const auto& [page, host, allowed] : all) {
            if (!memory.holds(guest_of(host))) return fmt::format("{:#x} names an absent page", page.value());
            if (std::string wrong = compare(i, page, host, allowed); !wrong.empty()) return wrong;
        }
    }
    if (memory.stale_writes() != 0) return "the VMM wrote a watched table";
    return {};
}

std::string ShadowWorld::check() {
    if (std::string wrong = check_translations(); !wrong.empty()) return wrong;
    if (memory.protected_pages() != table.watched_tables()) return "pages protected that the table does not know of";
    return table.inconsistency();
}

}  // namespace penumbra::test
