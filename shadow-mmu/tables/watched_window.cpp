#include "shadow-mmu/tables/watched_window.hpp"

#include <optional>
#include <utility>

namespace penumbra::mmu {

namespace {

std::uint64_t* word_at(const EptTable::Access& access, Gpa entry) {
    return reinterpret_cast<std::uint64_t*>(pointer_to(access.page) + page_offset(entry));
}

}  // namespace

WatchedWindow::WatchedWindow(EptTable& ept, WindowPort& window, InUse in_use)
    : ept_(ept), window_(window), in_use_(std::move(in_use)) {}

void WatchedWindow::watch(std::span<WatchRequest> pages) {
    std::vector<Held> held = hold(pages);
    for (std::size_t first = 0; first < held.size();) {
        std::size_t count = 1;
        while (first + count < held.size() && held[first + count].access.page == held[first].access.page + count) {
            ++count;
        }
        protect(std::span(held).subspan(first, count));
        first += count;
    }
}

std::vector<WatchedWindow::Held> WatchedWindow::hold(std::span<WatchRequest> pages) {
    std::vector<Held> held;
    held.reserve(pages.size());
    for (WatchRequest& request : pages) {
        if (auto access = ept_.access(request.gfn)) {
            held.push_back({&request, std::move(*access)});
        } else {
            const bool is_ram = problem_of(request.gfn) == EntryProblem::absent;
            request.result = is_ram ? WatchResult::absent : WatchResult::refused;
        }
    }
    return held;
}

void WatchedWindow::protect(std::span<Held> run) {
    const HvpRange pages{run.front().access.page, run.size()};
    const bool done = window_.protect(pages).has_value();
    if (!done) window_.unprotect(pages);
    for (const Held& held : run) {
        WatchResult& result = held.request->result;
        result = done ? settled(held.access.page) : WatchResult::refused;
        if (done && result != WatchResult::watched) window_.unprotect({held.access.page, 1});
    }
}

/// What a protected page is. To be asked after it was protected: stop() and I/O look, or pin, afterwards.
WatchResult WatchedWindow::settled(Hvp page) const {
    if (stopped_.load(std::memory_order_seq_cst)) return WatchResult::refused;
    return in_use_(page) ? WatchResult::absent : WatchResult::watched;
}

void WatchedWindow::unwatch(std::span<const Gfn> pages) {
    std::optional<HvpRange> run;
    for (const Gfn gfn : pages) {
        const std::optional<Hvp> page = ept_.memslots().to_host(gfn);
        if (!page) continue;
        if (run && *page == run->end()) {
            run = HvpRange{run->first(), run->pages() + 1};
            continue;
        }
        if (run) window_.unprotect(*run);
        run = HvpRange{*page, 1};
    }
    if (run) window_.unprotect(*run);
}

void WatchedWindow::stop() {
    stopped_.store(true, std::memory_order_seq_cst);
    for (const Memslot& slot : ept_.memslots().slots()) window_.unprotect(slot.host_pages());
}

EntryProblem WatchedWindow::problem_of(Gfn gfn) const {
    return ept_.memslots().to_host(gfn) ? EntryProblem::absent : EntryProblem::not_ram;
}

std::expected<std::uint64_t, EntryProblem> WatchedWindow::read(Gpa entry) {
    const auto access = ept_.access(frame_of(entry));
    if (!access) return std::unexpected{problem_of(frame_of(entry))};
    return std::atomic_ref(*word_at(*access, entry)).load(std::memory_order_seq_cst);
}

EntryExchange WatchedWindow::compare_exchange(Gpa entry, std::uint64_t expected, std::uint64_t desired) {
    const auto access = ept_.access(frame_of(entry));
    if (!access) {
        return problem_of(frame_of(entry)) == EntryProblem::absent ? EntryExchange::absent : EntryExchange::not_ram;
    }
    std::atomic_ref word(*word_at(*access, entry));
    return word.compare_exchange_strong(expected, desired, std::memory_order_seq_cst) ? EntryExchange::done
                                                                                      : EntryExchange::changed;
}

}  // namespace penumbra::mmu
