// The states an entry can be in, and what a leaf permits, whatever its format encodes them as.
#pragma once

#include <cstdint>

namespace penumbra::mmu {

enum class EntryState : std::uint8_t {
    empty,    ///< nothing mapped; a fault may claim it
    busy,     ///< claimed by one fault, which is putting the page in; nobody else may change it
    present,  ///< a leaf: translations may be cached by a TLB
    aged,     ///< a leaf that translates nothing until it is touched, which is how an access shows without an A bit
    frozen,   ///< being changed: keeps what it was, translates nothing, and only who froze it may change it
    table,    ///< names a lower table page
    retired,  ///< the table page that it lies in was unlinked: walk again from the root
};

enum class Permission : std::uint8_t { read, read_write };

/// What a leaf permits besides reading.
enum class Right : std::uint8_t {
    write = 1 << 0,
    execute = 1 << 1,
    user = 1 << 2,        ///< reachable from the guest's user mode; only the x86 format knows the difference
    host_write = 1 << 3,  ///< the host's page may be written, whether or not the guest may; implied by write
};

class Rights {
public:
    constexpr Rights() = default;
    constexpr Rights(Right right) : bits_(static_cast<std::uint8_t>(right)) {}  // NOLINT(*-explicit-*)

    [[nodiscard]] constexpr bool has(Right right) const { return (bits_ & static_cast<std::uint8_t>(right)) != 0; }
    [[nodiscard]] constexpr Rights without(Right right) const {
        Rights less = *this;
        less.bits_ = static_cast<std::uint8_t>(bits_ & ~static_cast<std::uint8_t>(right));
        return less;
    }
    [[nodiscard]] friend constexpr Rights operator|(Rights a, Rights b) {
        a.bits_ = static_cast<std::uint8_t>(a.bits_ | b.bits_);
        return a;
    }
    friend constexpr bool operator==(Rights, Rights) = default;

private:
    std::uint8_t bits_ = 0;
};
[[nodiscard]] constexpr Rights operator|(Right a, Right b) { return Rights{a} | Rights{b}; }

[[nodiscard]] constexpr Rights rights_of(Permission permission) {
    const Rights read = Right::execute | Right::user;
    return permission == Permission::read_write ? read | Right::write | Right::host_write : read;
}

/// Whether whoever walks the table sets accessed and dirty bits, or they are emulated: accessed by `aged` entries that
/// fault when touched, dirty by write protection. (KVM: shadow_accessed_mask and access tracking, mmu/spte.h.)
enum class AccessedDirty : std::uint8_t { hardware, emulated };

/// What touches a page.
enum class Touch : std::uint8_t { read, write };

}  // namespace penumbra::mmu
