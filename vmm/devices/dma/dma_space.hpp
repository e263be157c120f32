// Guest memory for devices: never a wait, never a fault on the window, never a pin.
//
// A device looks at guest memory only through entries of its table that are present now, and keeps a page from leaving
// exactly while it works on it. What is absent is asked for and comes as a callback on the device's own loop, with the
// page held meanwhile, so that even a guest whose pages leave as fast as they come makes progress. A request that needs
// many pages takes them piece by piece: holding one while waiting for another could wait for itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <span>
#include <utility>

#include "base/address.hpp"
#include "base/result.hpp"
#include "shadow-mmu/fault/fault.hpp"
#include "shadow-mmu/tables/io_table.hpp"
#include "vmm/devices/io_loop.hpp"

namespace penumbra::vmm {

enum class DmaMiss : std::uint8_t {
    absent,   ///< RAM whose page (DmaClient::missing()) is out: want() it
    not_ram,  ///< some byte is not RAM: the guest gave a wrong address
};

/// Guest bytes that stay where they are while this lives: their eviction waits. Host-contiguous. Movable; may be
/// released on any thread. Keep it no longer than the access or the kernel's I/O takes, never while waiting for a guest
/// or a peer: once its eviction has lost patience, nobody's wish for a page of the same 2 MiB is granted any more.
class DmaHold {
public:
    DmaHold() = default;
    [[nodiscard]] std::span<std::byte> bytes() const { return bytes_; }

private:
    friend class DmaClient;
    DmaHold(mmu::IoTable::Hold hold, std::span<std::byte> bytes) : hold_(std::move(hold)), bytes_(bytes) {}

    mmu::IoTable::Hold hold_;
    std::span<std::byte> bytes_;
};

enum class DmaGrant : std::uint8_t {
    present,  ///< the page is in and held until the callback returns
    not_ram,
};

class DmaInbox;
class DmaService;

/// One device's way to guest memory. All methods on the loop's thread and with no lock held, except constructor and
/// destructor, which run while the loop does not. The service outlives it; so does the loop.
class DmaClient {
public:
    using Then = std::function<void(DmaGrant)>;
    /// Wishes that one client may have at once, asserted: a device waits for a page or two per request in its hands.
    static constexpr std::size_t most_waiting = 1U << 16;

    DmaClient(DmaService& service, IoLoop& loop);
    ~DmaClient();
    DmaClient(const DmaClient&) = delete;
    DmaClient& operator=(const DmaClient&) = delete;

    // ---- now or not at all; all-or-nothing for the bytes named ----
    // In a callback of want() the granted page is present whatever happens to it meanwhile. Bytes on two pages need
    // both at once: who must get on while pages leave as fast as they come splits what it reads at page boundaries.
    [[nodiscard]] std::expected<void, DmaMiss> read(Gpa from, std::span<std::byte> to);
    [[nodiscard]] std::expected<void, DmaMiss> write(Gpa to, std::span<const std::byte> from);
    /// Naturally aligned and atomic, with acquire and release order. Misaligned answers not_ram.
    [[nodiscard]] std::expected<std::uint16_t, DmaMiss> load16(Gpa from);
    [[nodiscard]] std::expected<void, DmaMiss> store16(Gpa to, std::uint16_t value);
    /// The first bytes of [first, first + bytes): as many as are present and host-contiguous, at least one (none if
    /// `bytes` is 0). For the kernel's I/O: how long it lasts is watched.
    [[nodiscard]] std::expected<DmaHold, DmaMiss> hold(Gpa first, std::uint64_t bytes);
    /// The page that the last `absent` was about.
    [[nodiscard]] Gfn missing() const { return missing_; }

    /// Has the page brought in; `then` runs on the loop, never inside want(). Several wishes for one page are one
    /// request. A page that cannot be supplied stops the machine (io-error) and the wish waits until that is mended.
    void want(Gfn gfn, mmu::FaultAccess access, Then then);
    /// Forgets every wish: no callback of an earlier want() runs after this returns.
    void cancel();
    [[nodiscard]] std::size_t waiting() const;

private:
    [[nodiscard]] std::expected<mmu::IoTable::Hold, DmaMiss> hold_pages(Gfn first, std::uint64_t pages,
                                                                        mmu::HoldFor purpose);
    /// Calls fn(host bytes) for the pieces of [at, at + bytes), all of them held.
    template <class Fn>
    [[nodiscard]] std::expected<void, DmaMiss> visit(Gpa at, std::uint64_t bytes, Fn&& fn);

    DmaService& service_;
    std::shared_ptr<DmaInbox> inbox_;
    Gfn missing_{0};
};

}  // namespace penumbra::vmm
