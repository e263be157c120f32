// Strong types for every kind of address Penumbra handles. An Address counts bytes, a Frame counts 4 KiB pages; the
// tag says of what. Raw integers become typed at four edges only: KVM exits, userfaultfd messages, guest memory reads
// and table entries. Arithmetic is checked; address minus address is a length, never an address.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>

#include "base/assert.hpp"

namespace penumbra {

inline constexpr unsigned page_shift = 12;
inline constexpr std::uint64_t page_bytes = std::uint64_t{1} << page_shift;

namespace detail {

/// Shared body of Address and Frame: an ordered, checked 64-bit ordinal that is not an integer.
template <class Derived>
class Ordinal {
public:
    constexpr Ordinal() = default;
    constexpr explicit Ordinal(std::uint64_t value) : value_(value) {}

    [[nodiscard]] constexpr std::uint64_t value() const { return value_; }

    [[nodiscard]] friend constexpr Derived operator+(Derived a, std::uint64_t n) {
        PENUMBRA_ASSERT(a.value() <= std::numeric_limits<std::uint64_t>::max() - n, "address arithmetic overflowed");
        return Derived{a.value() + n};
    }
    [[nodiscard]] friend constexpr Derived operator-(Derived a, std::uint64_t n) {
        PENUMBRA_ASSERT(a.value() >= n, "address arithmetic went below zero");
        return Derived{a.value() - n};
    }
    /// The distance from b up to a. Asserts a >= b.
    [[nodiscard]] friend constexpr std::uint64_t operator-(Derived a, Derived b) {
        PENUMBRA_ASSERT(a.value() >= b.value(), "negative address distance");
        return a.value() - b.value();
    }
    friend constexpr Derived& operator++(Derived& a) { return a = a + 1; }
    friend constexpr Derived& operator+=(Derived& a, std::uint64_t n) { return a = a + n; }

    friend constexpr bool operator==(Derived a, Derived b) { return a.value() == b.value(); }
    friend constexpr auto operator<=>(Derived a, Derived b) { return a.value() <=> b.value(); }

private:
    std::uint64_t value_ = 0;
};

}  // namespace detail

template <class Tag>
class Frame : public detail::Ordinal<Frame<Tag>> {
public:
    using detail::Ordinal<Frame<Tag>>::Ordinal;
};

template <class Tag>
class Address : public detail::Ordinal<Address<Tag>> {
public:
    using detail::Ordinal<Address<Tag>>::Ordinal;
};

struct GuestPhysicalTag;
struct GuestVirtualTag;
struct HostVirtualTag;

using Gpa = Address<GuestPhysicalTag>;  ///< guest-physical byte address
using Gfn = Frame<GuestPhysicalTag>;    ///< guest-physical page number
using Gva = Address<GuestVirtualTag>;   ///< guest-virtual byte address
using Hva = Address<HostVirtualTag>;    ///< host-virtual byte address in the VMM
using Hvp = Frame<HostVirtualTag>;      ///< host-virtual page of the VMM: what a table's leaf names

template <class Tag>
[[nodiscard]] constexpr Frame<Tag> frame_of(Address<Tag> address) {
    return Frame<Tag>{address.value() >> page_shift};
}

template <class Tag>
[[nodiscard]] constexpr Address<Tag> address_of(Frame<Tag> frame) {
    PENUMBRA_ASSERT(frame.value() >> (64 - page_shift) == 0, "frame number too large for an address");
    return Address<Tag>{frame.value() << page_shift};
}

template <class Tag>
[[nodiscard]] constexpr std::uint64_t page_offset(Address<Tag> address) {
    return address.value() & (page_bytes - 1);
}

template <class Tag>
[[nodiscard]] constexpr bool is_page_aligned(Address<Tag> address) {
    return page_offset(address) == 0;
}

/// A typed host-virtual address as the pointer it is. The caller owns the proof that the memory is there.
[[nodiscard]] inline std::byte* pointer_to(Hva address) {
    return reinterpret_cast<std::byte*>(address.value());  // NOLINT(performance-no-int-to-ptr)
}
[[nodiscard]] inline std::byte* pointer_to(Hvp page) { return pointer_to(address_of(page)); }
[[nodiscard]] inline Hva hva_of(const void* pointer) { return Hva{reinterpret_cast<std::uintptr_t>(pointer)}; }

}  // namespace penumbra

template <class Tag>
struct std::hash<penumbra::Frame<Tag>> {
    std::size_t operator()(penumbra::Frame<Tag> frame) const noexcept {
        return std::hash<std::uint64_t>{}(frame.value());
    }
};
