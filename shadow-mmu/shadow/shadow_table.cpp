#include "shadow-mmu/shadow/shadow_table.hpp"

#include <algorithm>
#include <utility>

#include "shadow-mmu/shadow/shadow_bugs.hpp"
#include "shadow-mmu/shadow/zap_ranges.hpp"

namespace penumbra::mmu {

ShadowTable::ShadowTable(std::string name, Memslots memslots, ShadowPorts ports, const ShadowLimits& limits,
                         ShadowClock clock)
    : name_(std::move(name)),
      memslots_(std::move(memslots)),
      memory_(ports.memory),
      watches_(ports.watches),
      tlb_(ports.tlb),
      limits_(limits),
      clock_(std::move(clock)),
      tree_(limits.pages),
      slices_(limits.progress) {
    PENUMBRA_ASSERT(limits.pages >= 16, "a shadow table too small for a walk and its neighbours");
}

ShadowContext* ShadowTable::context_of(ContextId context) {
    const auto number = static_cast<std::size_t>(context);
    if (number >= contexts_.size() || !contexts_[number].open) return nullptr;
    return &contexts_[number];
}

std::optional<ContextId> ShadowTable::open_context(const ContextOptions& options) {
    const MutexLock lock(mutex_);
    const auto free = std::ranges::find(contexts_, false, &ShadowContext::open);
    if (free == contexts_.end()) return std::nullopt;
    *free = ShadowContext{};
    free->open = true;
    free->announces = options.announces == Announces::yes;
    free->view = {options.root, options.mode, free->announces ? options.tracking : Tracking::watched, ++generations_};
    return ContextId{static_cast<std::uint16_t>(free - contexts_.begin())};
}

void ShadowTable::close_context(ContextId id) {
    Cut cut(tlb_);
    {
        const MutexLock lock(mutex_);
        ShadowContext* context = context_of(id);
        if (context == nullptr) return;
        close_gate();
        forget_roots(id, *context, cut);
        context->open = false;
    }
    discharge(cut, everything());
}

void ShadowTable::set_root(ContextId id, Gpa root, const PagingMode& mode) {
    Cut cut(tlb_);
    {
        const MutexLock lock(mutex_);
        ShadowContext* context = context_of(id);
        if (context == nullptr) return;
        close_gate();
        switch_root(id, *context, {root, mode, context->view.tracking, ++generations_}, cut);
    }
    discharge(cut, everything());
    if (!shadow_bug(ShadowBug::stale_root_reuse)) invalidate(id, whole_context);
}

/// The root that is left stays in the cache, its tables watched; unwatched ones are read again when it is used next.
void ShadowTable::switch_root(ContextId id, ShadowContext& context, ContextView next, Cut& cut) {
    cut.flush.add({id, whole_context});
    if (ShadowPage* left = context.root) {
        leave_root(id, context);
        context.cached.push_back({context.view, left});
    }
    context.view = next;
    const auto known = std::ranges::find_if(context.cached, [&](const CachedRoot& cached) {
        return cached.page->gfn == frame_of(next.root) && cached.page->role.packed() == next.root_role().packed();
    });
    if (known != context.cached.end()) {
        ShadowPage* page = known->page;
        context.cached.erase(known);
        context.root = page;
        page->current_of.push_back(id);
    }
    while (context.cached.size() > limits_.cached_roots) {
        ShadowPage* oldest = context.cached.front().page;
        context.cached.erase(context.cached.begin());
        let_go(*oldest, cut);
    }
}

void ShadowTable::hold_root(ContextId id, ShadowContext& context, ShadowPage& page) {
    context.root = &page;
    ++page.roots;
    page.current_of.push_back(id);
}

/// The context does not use it any more, but holds it still.
void ShadowTable::leave_root(ContextId id, ShadowContext& context) {
    std::erase(context.root->current_of, id);
    context.root = nullptr;
}

void ShadowTable::let_go(ShadowPage& page, Cut& cut) {
    --page.roots;
    tree_.remove_if_orphan(page, cut);
}

void ShadowTable::forget_roots(ContextId id, ShadowContext& context, Cut& cut) {
    cut.flush.add({id, whole_context});
    context.view.generation = ++generations_;
    if (ShadowPage* root = context.root) {
        leave_root(id, context);
        let_go(*root, cut);
    }
    for (const CachedRoot& cached : std::exchange(context.cached, {})) let_go(*cached.page, cut);
}

std::optional<ShadowTable::Found> ShadowTable::find_leaf(const ShadowContext& context, Gvp page) {
    ShadowPage* at = context.root;
    for (; at != nullptr; at = &at->child(index_in(page, at->role.level))) {
        const auto index = static_cast<std::uint16_t>(index_in(page, at->role.level));
        tree_.touch(*at);
        if (at->state(index) == EntryState::empty) return std::nullopt;
        if (at->state(index) == EntryState::present) return Found{at->slots[index], {at, index}};
    }
    return std::nullopt;
}

std::optional<ShadowTable::Access> ShadowTable::access(ContextId id, Gva address, GuestAccess access) {
    const Gvp page = frame_of(address);
    if (const auto cached = tlb_.lookup(id, page); cached && cached->allowed.has(access)) {
        AccessTracker::Guard guard = accesses_.enter(cached->page);
        if (tlb_.lookup(id, page) == cached) return Access{std::move(guard), cached->page};
    }
    const MutexLock lock(mutex_);
    const ShadowContext* context = context_of(id);
    if (context == nullptr || !is_canonical(address, context->view.mode.top)) return std::nullopt;
    const auto found = find_leaf(*context, page);
    if (!found) return std::nullopt;
    const CachedTranslation translation{X86Format::frame(found->leaf), allowed_by(found->leaf, context->view.mode)};
    if (!translation.allowed.has(access)) return std::nullopt;
    // Whoever drops the leaf takes the lock first, and flushes and drains afterwards.
    AccessTracker::Guard guard = accesses_.enter(translation.page);
    tlb_.fill(id, page, translation);
    return Access{std::move(guard), translation.page};
}

std::size_t ShadowTable::shadow_pages() {
    const MutexLock lock(mutex_);
    return tree_.pages();
}

std::size_t ShadowTable::watched_tables() {
    const MutexLock lock(mutex_);
    return static_cast<std::size_t>(
        std::ranges::count_if(records_, [](const auto& record) { return record.second.state == WatchState::watched; }));
}

bool ShadowTable::is_watched(Gfn table) {
    const MutexLock lock(mutex_);
    const auto found = records_.find(table);
    return found != records_.end() && found->second.state == WatchState::watched;
}

Tracking ShadowTable::tracking_of(ContextId id) {
    const MutexLock lock(mutex_);
    const ShadowContext* context = context_of(id);
    return context == nullptr ? Tracking::watched : context->view.tracking;
}

}  // namespace penumbra::mmu
