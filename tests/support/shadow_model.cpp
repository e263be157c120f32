#include "tests/support/shadow_model.hpp"

#include <fmt/format.h>

#include <array>

namespace penumbra::test {

namespace {

using mmu::AccessKind;
using mmu::Announces;
using mmu::Privilege;
using mmu::ShadowOutcome;
using mmu::Tracking;

constexpr std::uint64_t table_pages = 12;  // pages 1 to 12: roots are 1 to 3
constexpr std::uint64_t upper_tables = 8;
constexpr std::uint64_t first_data = 32;
constexpr std::array<std::uint64_t, 4> indices{0, 1, 256, 511};

class Model {
public:
    explicit Model(const ShadowModelOptions& options) : world_({options.own, limits(options)}), random_(options.seed) {
        for (const std::uint64_t i4 : {indices[0], indices[2]}) {
            for (const std::uint64_t i3 : {indices[0], indices[1]}) {
                for (const std::uint64_t i2 : {indices[0], indices[3]}) {
                    for (const std::uint64_t i1 : indices) addresses_.push_back(gva(i4, i3, i2, i1));
                }
            }
        }
        world_.memory.keeps_history = true;
        for (std::uint64_t page = 1; page <= table_pages; ++page) {
            for (const std::uint64_t index : indices) world_.store(page, index, random_entry(page));
        }
        open_contexts();
        world_.memory.on_present = [this] { meanwhile(2); };
        world_.memory.on_read = [this] { meanwhile(12); };
        world_.memory.on_watch = [this] { guest_is_first(); };
        world_.memory.on_unwatch = [this](std::span<const Gfn> tables) { guest_goes_on(tables); };
    }

    std::string step() {
        const std::uint64_t act = below(100);
        meanwhile_left_ = below(4) == 0 ? 2 : 0;
        if (act < 45) {
            touch();
        } else if (act < 70) {
            change();
        } else if (act < 78) {
            world_.evict(random_page());
        } else if (act < 82) {
            world_.set_root(below(4), 1 + below(3), modes_[below(modes_.size())]);
        } else if (act < 89) {
            announce();
        } else if (act < 95) {
            device_write();
        } else if (act < 97) {
            world_.table.drop_everything();
        } else if (act < 98) {
            reopen();
        } else {
            world_.pass(std::chrono::microseconds{below(20'000)});
        }
        meanwhile_left_ = 0;
        return wrong_.empty() ? world_.check() : wrong_;
    }

    void add_to(ShadowModelReach& reach) const {
        const mmu::ShadowStats& stats = world_.table.stats();
        reach.reached += reach_.reached;
        reach.refused += reach_.refused;
        reach.own_table += reach_.own_table;
        reach.interrupted += reach_.interrupted;
        reach.waited += stats.waits.get();
        reach.broken += stats.broken.get();
        reach.floods += stats.floods.get();
        reach.evicted += stats.evicted.get();
        reach.synced += stats.synced.get();
        reach.full_flushes += world_.tlb.full_flushes();
    }

private:
    static mmu::ShadowLimits limits(const ShadowModelOptions& options) {
        mmu::ShadowLimits limits;
        limits.pages = options.quota;
        limits.cached_roots = 2;
        limits.progress.writes_in_window = 1000;
        return limits;
    }
    std::uint64_t below(std::uint64_t end) { return random_() % end; }
    Gfn random_page() {
        if (below(4) == 0) return ShadowMemory::large_area + below(512);
        return Gfn{below(2) == 0 ? 1 + below(table_pages) : first_data + below(8)};
    }
    /// Of a table of that number: the lower lead to tables, the higher to pages, most of the time.
    std::uint64_t random_entry(std::uint64_t table) {
        namespace bit = mmu::guest_entry;
        if (below(16) == 0) return 0;
        std::uint64_t entry = bit::present;
        if (below(12) != 0) entry |= bit::writable;
        if (below(16) != 0) entry |= bit::user;
        if (below(3) != 0) entry |= bit::accessed;
        if (below(2) != 0) entry |= bit::dirty;
        if (below(16) == 0) entry |= bit::no_execute;
        if (below(24) == 0) return entry | bit::page_size | (below(2) == 0 ? 512 : below(64)) * page_bytes;
        if (below(60) == 0) return entry_to(100'000, entry);
        const bool leads_down = table <= upper_tables ? below(20) != 0 : below(6) == 0;
        if (!leads_down) return entry_to(first_data + below(8), entry);
        return entry_to(below(3) == 0 ? upper_tables + 1 + below(table_pages - upper_tables) : 1 + below(upper_tables),
                        entry);
    }
    void open_contexts() {
        mmu::PagingMode plain, unprotected, strict;
        unprotected.write_protect = false;
        unprotected.smep = below(2) == 0;
        strict.smap = strict.smep = true;
        strict.no_execute = false;
        modes_ = {plain, unprotected, strict};
        const auto options = [&](Tracking tracking, std::size_t mode) {
            return mmu::ContextOptions{Gpa{(1 + below(3)) * page_bytes}, modes_[mode],
                                       tracking == Tracking::watched ? Announces::no : Announces::yes, tracking};
        };
        for (const auto& [tracking, mode] : {std::pair{Tracking::watched, 0},
                                             {Tracking::watched, 1},
                                             {Tracking::unsync_leaves, 0},
                                             {Tracking::cooperative, 0}}) {
            (void)world_.open(options(tracking, static_cast<std::size_t>(mode)));
        }
    }
    void reopen() {
        const mmu::ContextOptions options = world_.context(3).options;
        world_.close(3);
        (void)world_.open(options);
    }

    void touch() {
        const std::size_t context = below(4);
        const Gva address = addresses_[below(addresses_.size())];
        const mmu::GuestAccess access{static_cast<AccessKind>(below(3)), static_cast<Privilege>(below(3))};
        const bool alone = meanwhile_left_ == 0;
        const ShadowWorld::Touched touched = world_.touch(context, address, access);
        ++(touched.page ? reach_.reached : reach_.refused);
        if (touched.answer.outcome == ShadowOutcome::own_table) ++reach_.own_table;
        if (!alone) return;
        const bool watched = world_.context(context).options.tracking == Tracking::watched;
        const bool permitted = world_.truth(context, address).allowed.has(access);
        const ShadowOutcome outcome = touched.answer.outcome;
        if (touched.page) {
            if (!permitted && watched) wrong_ = "a device got an access that the guest's tables forbid";
        } else if (outcome == ShadowOutcome::guest_fault) {
            if (permitted) wrong_ = "a device was refused an access that the guest's tables permit";
        } else if (outcome != ShadowOutcome::own_table && outcome != ShadowOutcome::not_ram) {
            wrong_ = fmt::format("a device gets nowhere: outcome {}", static_cast<int>(outcome));
        }
    }
    void change() {
        const std::uint64_t page = 1 + below(table_pages);
        const std::uint64_t index = indices[below(indices.size())];
        const std::uint64_t now = world_.memory.word(ShadowMemory::at(page, index));
        switch (below(4)) {
            case 0:  // ages, cleans
                return world_.store(page, index,
                                    now & ~(below(2) == 0 ? mmu::guest_entry::accessed : mmu::guest_entry::dirty));
            case 1:  // permits more or less
                return world_.store(page, index,
                                    now ^ (below(2) == 0 ? mmu::guest_entry::writable : mmu::guest_entry::user));
            default:
                return world_.store(page, index, random_entry(page));
        }
    }
    void announce() {
        const mmu::Gvp page = frame_of(addresses_[below(addresses_.size())]);
        world_.announce(below(4), below(2) == 0 ? mmu::GvpRange{page, 1} : mmu::whole_context);
    }
    /// The device stores an entry where its translation leads.
    void device_write() {
        const std::size_t context = below(4);
        const Gva address = addresses_[below(addresses_.size())];
        const auto touched = world_.touch(context, address, user_write);
        if (!touched.page || *touched.page > Gfn{table_pages} || *touched.page == Gfn{0}) return;
        world_.memory.device_store(ShadowMemory::at(touched.page->value(), indices[below(indices.size())]),
                                   random_entry(touched.page->value()));
    }
    /// What others do in the middle of the table's work, once in so many times.
    void meanwhile(std::uint64_t once_in) {
        if (meanwhile_left_ == 0 || below(once_in) != 0) return;
        --meanwhile_left_;
        ++reach_.interrupted;
        const unsigned left = std::exchange(meanwhile_left_, 0U);
        switch (below(4)) {
            case 0:
                world_.evict(random_page());
                break;
            case 1:
                change();
                world_.announce(2 + below(2));
                break;
            default:
                change();
        }
        meanwhile_left_ = left;
    }
    /// The guest writes a table that is about to be watched.
    void guest_is_first() {
        if (meanwhile_left_ == 0) return;
        const std::uint64_t table = 1 + below(table_pages);
        (void)world_.memory.try_store(ShadowMemory::at(table, indices[below(4)]), random_entry(table));
    }
    /// A watch ended: the guest writes at once what it waited to write, and nothing may be stale afterwards.
    void guest_goes_on(std::span<const Gfn> tables) {
        if (going_on_ || below(4) != 0) return;
        going_on_ = true;
        const Gfn table = tables[below(tables.size())];
        const bool stored =
            table > Gfn{0} && table <= Gfn{table_pages} &&
            world_.memory.try_store(ShadowMemory::at(table.value(), indices[below(4)]), random_entry(table.value()));
        if (stored && wrong_.empty()) wrong_ = world_.check_translations();
        going_on_ = false;
    }

    ShadowWorld world_;
    std::mt19937_64 random_;
    std::vector<Gva> addresses_;
    std::vector<mmu::PagingMode> modes_;
    std::string wrong_;
    ShadowModelReach reach_;
    unsigned meanwhile_left_ = 0;
    bool going_on_ = false;
};

}  // namespace

std::string run_shadow_model(const ShadowModelOptions& options, ShadowModelReach* reach) {
    Model model(options);
    for (unsigned step = 0; step < options.steps; ++step) {
        if (const std::string wrong = model.step(); !wrong.empty()) {
            return fmt::format("seed {}, step {}: {}", options.seed, step, wrong);
        }
    }
    if (reach != nullptr) model.add_to(*reach);
    return {};
}

}  // namespace penumbra::test
