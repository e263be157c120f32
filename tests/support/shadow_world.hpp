// A guest with page tables, a device that translates through them, a host that takes pages away, and what a fresh walk
// says: the truth that every translation is compared with.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "notifier-bridge/address_space.hpp"
#include "shadow-mmu/guest_walk/guest_entry.hpp"
#include "tests/support/shadow_memory.hpp"

namespace penumbra::test {

inline constexpr mmu::GuestAccess user_read{mmu::AccessKind::read, mmu::Privilege::user};
inline constexpr mmu::GuestAccess user_write{mmu::AccessKind::write, mmu::Privilege::user};
inline constexpr mmu::GuestAccess user_fetch{mmu::AccessKind::execute, mmu::Privilege::user};
inline constexpr mmu::GuestAccess kernel_read{mmu::AccessKind::read, mmu::Privilege::supervisor};
inline constexpr mmu::GuestAccess kernel_write{mmu::AccessKind::write, mmu::Privilege::supervisor};

/// Bits of a present entry that permits everything, already accessed; and dirty.
inline constexpr std::uint64_t open_entry =
    mmu::guest_entry::present | mmu::guest_entry::writable | mmu::guest_entry::user | mmu::guest_entry::accessed;
inline constexpr std::uint64_t dirty_entry = open_entry | mmu::guest_entry::dirty;
[[nodiscard]] constexpr std::uint64_t entry_to(std::uint64_t page, std::uint64_t bits = dirty_entry) {
    return page * page_bytes | bits;
}

struct ShadowWorldOptions {
    mmu::OwnWrites own = mmu::OwnWrites::break_watch;
    mmu::ShadowLimits limits;
};

/// Its calls are one thread's, but for reach(), store(), evict() and put_in(), which are any thread's.
class ShadowWorld {
public:
    explicit ShadowWorld(const ShadowWorldOptions& options = {});
    ~ShadowWorld();
    ShadowWorld(const ShadowWorld&) = delete;
    ShadowWorld& operator=(const ShadowWorld&) = delete;

    struct Context {
        mmu::ContextId id;
        mmu::ContextOptions options;
    };
    [[nodiscard]] std::size_t open(const mmu::ContextOptions& options);
    [[nodiscard]] std::size_t open(std::uint64_t root_page) {
        return open({.root = Gpa{root_page * page_bytes}, .mode = {}});
    }
    void close(std::size_t context);
    void set_root(std::size_t context, std::uint64_t root_page, const mmu::PagingMode& mode);
    [[nodiscard]] mmu::ContextId id(std::size_t context) const { return contexts_[context].id; }
    [[nodiscard]] const Context& context(std::size_t number) const { return contexts_[number]; }

    /// Entry `index` of table `page` as the guest's processor stores it: through the watch, if there is one.
    void store(std::uint64_t page, std::uint64_t index, std::uint64_t value);
    void evict(Gfn gfn);
    void put_in(Gfn gfn) { memory.put_in(gfn); }
    /// The guest of an announcing context says that it changed the pages' entries.
    void announce(std::size_t context, mmu::GvpRange pages = mmu::whole_context);

    struct Touched {
        std::optional<Gfn> page;  ///< that the device reached
        mmu::ShadowAnswer answer;
    };
    /// The device accesses an address; absent host pages are brought in, and time passes where it has to wait.
    [[nodiscard]] Touched touch(std::size_t context, Gva address, mmu::GuestAccess access);
    /// The same however long it takes; nullopt where the guest's tables forbid the access.
    [[nodiscard]] std::optional<Gfn> reach(mmu::ContextId context, Gva address, mmu::GuestAccess access);

    /// Whom a translation may serve, as the guest's tables say now.
    struct Truth {
        std::optional<Hvp> page;
        mmu::AllowedAccesses allowed;
    };
    [[nodiscard]] Truth truth(std::size_t context, Gva address) const;
    /// Compares all that is cached with the truth; where a context's tables are not watched, with walks through entries
    /// as they were at any time since the context's guest announced changes of the address last, as a processor's
    /// caches may hold them. Nothing, or what is wrong. Needs memory.keeps_history for such contexts.
    [[nodiscard]] std::string check();
    /// As check(), without the table's own structure: also in the middle of its work.
    [[nodiscard]] std::string check_translations();

    void pass(std::chrono::microseconds time) { clock_.fetch_add(time.count()); }
    [[nodiscard]] mmu::ShadowTime now() const { return mmu::ShadowTime{std::chrono::microseconds{clock_.load()}}; }

    ShadowMemory memory;
    ModelledContextTlb tlb;
    bridge::AddressSpace space;
    std::atomic<std::int64_t> clock_{1'000'000'000};
    mmu::ShadowTable table;

private:
    [[nodiscard]] bool was_true(std::size_t context, mmu::Gvp page, Hvp host, mmu::AllowedAccesses allowed);
    [[nodiscard]] std::string compare(std::size_t context, mmu::Gvp page, Hvp host, mmu::AllowedAccesses allowed);
    [[nodiscard]] Gfn guest_of(Hvp page) const { return *ShadowMemory::memslots().to_guest(page); }

    std::vector<Context> contexts_;
    struct Announced {
        mmu::ContextId context;
        mmu::GvpRange pages;
        std::uint64_t at;  // stores up to here count
    };
    std::vector<Announced> announced_;
    bridge::Subscription window_subscription_;
    bridge::Subscription table_subscription_;
};

/// The page of indices at levels 4 to 1.
[[nodiscard]] Gva gva(std::uint64_t i4, std::uint64_t i3, std::uint64_t i2, std::uint64_t i1);

}  // namespace penumbra::test
