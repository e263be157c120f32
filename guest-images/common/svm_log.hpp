// What a virtual page of a process was, is, and for which of the device's commands.
//
// Commands run one after another, so time is told in their numbers. A store that changes a page has a `first_new`, the
// oldest command that was not done before it: older ones cannot have seen what it made. And it has a `last_old`, the
// newest one that may have begun before the store was over (watched tables), or before its announcement was done (all
// others): younger ones cannot see what it replaced. In between, every page may be either.
#pragma once

#include <cstdint>

namespace penumbra::guest {

/// Bits of a page-table entry.
inline constexpr std::uint64_t svm_present = 1;
inline constexpr std::uint64_t svm_writable = 2;
inline constexpr std::uint64_t svm_user = 4;
inline constexpr std::uint64_t svm_all_rights = svm_present | svm_writable | svm_user;

inline constexpr std::uint64_t svm_never = ~std::uint64_t{0};

enum class SvmAccess : std::uint8_t { read, write };

constexpr bool svm_permits(std::uint64_t rights, SvmAccess access) {
    const std::uint64_t wanted = access == SvmAccess::write ? svm_all_rights : svm_present | svm_user;
    return (rights & wanted) == wanted;
}

struct SvmVersion {
    std::uint64_t first_new;
    std::uint64_t last_old;  ///< svm_never: not known yet
    std::uint64_t rights;
    std::uint64_t raw;   ///< raw sum of the page that is mapped
    std::uint64_t over;  ///< the newest command that may have begun before the store was over; the writer's
};

/// One writer, one reader, who looks only at commands that are done and not collected yet.
struct SvmPageLog {
    static constexpr std::uint64_t depth = 8;

    std::uint64_t count;
    SvmVersion versions[depth];
    std::uint64_t last_fill;  ///< 1 + the number of the last fill that was done and collected; the reader writes it

    [[nodiscard]] SvmVersion& version(std::uint64_t number) { return versions[number % depth]; }
    [[nodiscard]] SvmVersion& newest() { return version(count - 1); }

    /// Whether so many more versions can be kept: nobody needs those that they replace.
    [[nodiscard]] bool has_room(std::uint64_t versions_more, std::uint64_t collected) {
        const std::uint64_t end = count + versions_more;
        return end <= depth || version(end - depth).last_old < collected;
    }
    void append(const SvmVersion& made) {
        version(count) = made;
        __atomic_store_n(&count, count + 1, __ATOMIC_RELEASE);
    }
    /// Tells all versions whose end was open that commands above `number` cannot see what was before, unless they began
    /// before the store was over: while an announcement is under way, rights are given back that need none.
    void settle(std::uint64_t number) {
        const std::uint64_t oldest = count < depth ? 0 : count - depth;
        for (std::uint64_t i = oldest; i < count; ++i) {
            SvmVersion& made = version(i);
            if (made.last_old != svm_never) continue;
            __atomic_store_n(&made.last_old, number < made.over ? made.over : number, __ATOMIC_RELEASE);
        }
    }

    /// Calls fn(version) for each version that command `number` may have seen, the newest first, until it says true.
    template <class Fn>
    bool any_for(std::uint64_t number, Fn&& fn) {
        const std::uint64_t known = __atomic_load_n(&count, __ATOMIC_ACQUIRE);
        for (std::uint64_t i = known; i != 0 && known - i < depth; --i) {
            SvmVersion& seen = version(i - 1);
            if (seen.first_new <= number && fn(seen)) return true;
            if (__atomic_load_n(&seen.last_old, __ATOMIC_ACQUIRE) < number) return false;
        }
        return false;
    }
};

}  // namespace penumbra::guest
