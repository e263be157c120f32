// Guest memory as the guest's own CPU sees it, atomics included.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <type_traits>

#include "base/address.hpp"
#include "shadow-mmu/tables/ept_table.hpp"

namespace penumbra::test {

/// Thread-safe, as a guest's memory is. Pages that are out come in by themselves. Addresses are RAM, or `bring_in` says
/// no in its own way.
class GuestView {
public:
    /// For FakeDmaMachine, DmaMachine and their like, which outlive it.
    template <class Machine>
    explicit GuestView(Machine& machine)
        : ept_(ept_of(machine)), bring_in_([&machine](Gfn gfn) {
              // The page's last byte, which nobody uses as a ring.
              std::byte byte{};
              machine.read(address_of(gfn) + (page_bytes - 1), std::span{&byte, 1});
          }) {}

    void write(Gpa to, std::span<const std::byte> from) {
        touch(to, from.size(), [&](std::byte* at, std::uint64_t done, std::uint64_t bytes) {
            std::memcpy(at, from.data() + done, bytes);
        });
    }
    void read(Gpa from, std::span<std::byte> to) {
        touch(from, to.size(), [&](const std::byte* at, std::uint64_t done, std::uint64_t bytes) {
            std::memcpy(to.data() + done, at, bytes);
        });
    }
    template <class T>
        requires std::is_trivially_copyable_v<T>
    void put(Gpa to, const T& value) {
        write(to, std::as_bytes(std::span{&value, 1}));
    }
    template <class T>
        requires std::is_trivially_copyable_v<T>
    [[nodiscard]] T get(Gpa from) {
        T value{};
        read(from, std::as_writable_bytes(std::span{&value, 1}));
        return value;
    }
    /// Aligned; release and acquire.
    void store16(Gpa to, std::uint16_t value) {
        touch(to, 2, [&](std::byte* at, std::uint64_t, std::uint64_t) {
            std::atomic_ref(*reinterpret_cast<std::uint16_t*>(at)).store(value, std::memory_order_release);
        });
    }
    [[nodiscard]] std::uint16_t load16(Gpa from) {
        std::uint16_t value = 0;
        touch(from, 2, [&](std::byte* at, std::uint64_t, std::uint64_t) {
            value = std::atomic_ref(*reinterpret_cast<std::uint16_t*>(at)).load(std::memory_order_acquire);
        });
        return value;
    }

private:
    template <class Machine>
    static mmu::EptTable& ept_of(Machine& machine) {
        if constexpr (requires { machine.ept(); }) {
            return machine.ept();
        } else {
            return machine.memory().ept();
        }
    }
    template <class Fn>
    void touch(Gpa at, std::uint64_t bytes, Fn&& fn) {
        for (std::uint64_t done = 0; done < bytes;) {
            const Gpa here = at + done;
            const std::uint64_t piece = std::min(bytes - done, page_bytes - page_offset(here));
            if (const auto access = ept_.access(frame_of(here))) {
                fn(pointer_to(access->page) + page_offset(here), done, piece);
                done += piece;
            } else {
                bring_in_(frame_of(here));
            }
        }
    }

    mmu::EptTable& ept_;
    std::function<void(Gfn)> bring_in_;
};

}  // namespace penumbra::test
