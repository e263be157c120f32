// What a shadow table flushes: a device engine's cache of translations, by context.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <span>

#include "base/counters.hpp"
#include "base/range.hpp"
#include "shadow-mmu/guest_walk/paging_mode.hpp"

namespace penumbra::mmu {

/// One address space that a device works in: a PASID, as the table numbers them.
enum class ContextId : std::uint16_t {};

using Gvp = Frame<GuestVirtualTag>;  ///< guest-virtual page: a canonical address without its low 12 bits
using GvpRange = FrameRange<Gvp>;
/// Both halves of the canonical addresses, and what lies between.
inline constexpr GvpRange whole_context{Gvp{0}, std::uint64_t{1} << (64 - page_shift)};

/// A set of accesses: one bit for each kind by each privilege.
class AllowedAccesses {
public:
    constexpr AllowedAccesses() = default;
    constexpr explicit AllowedAccesses(std::uint16_t bits) : bits_(bits) {}
    [[nodiscard]] constexpr bool has(GuestAccess access) const { return (bits_ & bit_of(access)) != 0; }
    constexpr void add(GuestAccess access) { bits_ = static_cast<std::uint16_t>(bits_ | bit_of(access)); }
    [[nodiscard]] constexpr std::uint16_t bits() const { return bits_; }
    friend constexpr bool operator==(AllowedAccesses, AllowedAccesses) = default;

private:
    [[nodiscard]] static constexpr unsigned bit_of(GuestAccess access) {
        return 1U << (3 * static_cast<unsigned>(access.privilege) + static_cast<unsigned>(access.kind));
    }
    std::uint16_t bits_ = 0;
};

struct CachedTranslation {
    Hvp page;
    AllowedAccesses allowed;
    friend bool operator==(const CachedTranslation&, const CachedTranslation&) = default;
};

struct ContextRun {
    ContextId context{};
    GvpRange pages;
};

/// Only one engine looks up; the table fills on its behalf, on the engine's thread. Any thread may flush, at any time;
/// the table never flushes while it fills, so what was filled before is gone after.
class ContextTlb {
public:
    ContextTlb() = default;
    ContextTlb(const ContextTlb&) = delete;
    ContextTlb& operator=(const ContextTlb&) = delete;
    virtual ~ContextTlb() = default;

    [[nodiscard]] virtual std::optional<CachedTranslation> lookup(ContextId context, Gvp page) const = 0;
    virtual void fill(ContextId context, Gvp page, CachedTranslation translation) = 0;
    virtual void flush(std::span<const ContextRun> runs) = 0;
    virtual void flush_all() = 0;
};

/// A direct-mapped one.
class DeviceContextTlb final : public ContextTlb {
public:
    [[nodiscard]] std::optional<CachedTranslation> lookup(ContextId context, Gvp page) const override {
        const Entry& entry = entries_[index_of(context, page)];
        if (entry.tag.load(std::memory_order_seq_cst) != tag_of(context, page)) return std::nullopt;
        const std::uint64_t value = entry.value.load(std::memory_order_relaxed);
        return CachedTranslation{Hvp{value & page_mask}, AllowedAccesses{static_cast<std::uint16_t>(value >> 52)}};
    }
    void fill(ContextId context, Gvp page, CachedTranslation translation) override {
        Entry& entry = entries_[index_of(context, page)];
        entry.tag.store(0, std::memory_order_seq_cst);
        entry.value.store(translation.page.value() | std::uint64_t{translation.allowed.bits()} << 52,
                          std::memory_order_relaxed);
        entry.tag.store(tag_of(context, page), std::memory_order_seq_cst);
        fills_.add();
    }
    void flush(std::span<const ContextRun> runs) override;
    void flush_all() override;
    [[nodiscard]] std::uint64_t fills() const { return fills_.get(); }
    [[nodiscard]] std::uint64_t flushes() const { return flushes_.get(); }

private:
    static constexpr std::size_t entries = 1024;
    static constexpr std::uint64_t page_mask = (std::uint64_t{1} << 52) - 1;
    struct Entry {
        std::atomic<std::uint64_t> tag{0};    // context + 1 over the page; 0: invalid
        std::atomic<std::uint64_t> value{0};  // what it permits over the host page
    };
    [[nodiscard]] static std::uint64_t tag_of(ContextId context, Gvp page) {
        return (static_cast<std::uint64_t>(context) + 1) << 52 | page.value();
    }
    [[nodiscard]] static std::size_t index_of(ContextId context, Gvp page) {
        return (page.value() ^ static_cast<std::uint64_t>(context) * 0x9E37'79B9U) % entries;
    }
    std::array<Entry, entries> entries_{};
    Counter fills_;
    Counter flushes_;
};

}  // namespace penumbra::mmu
