#include "vmm/devices/dma/dma_space.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <vector>

#include "vmm/devices/dma/dma_inbox.hpp"
#include "vmm/devices/dma/dma_service.hpp"

namespace penumbra::vmm {

using mmu::FaultAccess;
using mmu::HoldFor;
using mmu::IoTable;

namespace {

/// A guest may name its whole memory at once: a hold takes a part of it.
constexpr std::uint64_t most_pages_held = 256;

/// Pages that [at, at + bytes) touches; `bytes` > 0 and the end is no overflow.
std::uint64_t pages_of(Gpa at, std::uint64_t bytes) { return frame_of(at + (bytes - 1)) - frame_of(at) + 1; }

std::uint64_t space_above(Gpa at) { return std::numeric_limits<std::uint64_t>::max() - at.value(); }

}  // namespace

DmaClient::DmaClient(DmaService& service, IoLoop& loop) : service_(service), inbox_(std::make_shared<DmaInbox>(loop)) {
    service_.add(inbox_);
}

DmaClient::~DmaClient() {
    service_.remove(inbox_);
    inbox_->close();
    inbox_->clear();
}

std::expected<IoTable::Hold, DmaMiss> DmaClient::hold_pages(Gfn first, std::uint64_t pages, HoldFor purpose) {
    // What the running callback was given is there for it, even when the page is on its way out by now.
    if (std::optional<IoTable::Hold> held = inbox_->hold_granted(first, purpose)) return std::move(*held);
    if (std::optional<IoTable::Hold> held = service_.hold(first, pages, purpose)) return std::move(*held);
    missing_ = first;
    return std::unexpected{service_.memslots().to_host(first) ? DmaMiss::absent : DmaMiss::not_ram};
}

template <class Fn>
std::expected<void, DmaMiss> DmaClient::visit(Gpa at, std::uint64_t bytes, Fn&& fn) {
    if (bytes == 0) return {};
    if (bytes > space_above(at)) return std::unexpected{DmaMiss::not_ram};
    const std::uint64_t offset = page_offset(at);
    const std::uint64_t pages = pages_of(at, bytes);
    auto first = hold_pages(frame_of(at), pages, HoldFor::access);
    if (!first) return std::unexpected{first.error()};
    if (first->pages().pages() == pages) {
        fn(pointer_to(first->pages().first()) + offset, 0, bytes);
        return {};
    }
    // Not contiguous in the host, or partly granted: everything is held before anything is touched.
    std::vector<IoTable::Hold> holds;
    std::uint64_t held = first->pages().pages();
    holds.push_back(std::move(*first));
    while (held < pages) {
        auto next = hold_pages(frame_of(at) + held, pages - held, HoldFor::access);
        if (!next) return std::unexpected{next.error()};
        held += next->pages().pages();
        holds.push_back(std::move(*next));
    }
    std::uint64_t done = 0;
    for (const IoTable::Hold& hold : holds) {
        const std::uint64_t skipped = done == 0 ? offset : 0;
        const std::uint64_t piece = std::min(bytes - done, hold.pages().bytes() - skipped);
        fn(pointer_to(hold.pages().first()) + skipped, done, piece);
        done += piece;
    }
    return {};
}

std::expected<void, DmaMiss> DmaClient::read(Gpa from, std::span<std::byte> to) {
    return visit(from, to.size(), [&](const std::byte* memory, std::uint64_t done, std::uint64_t bytes) {
        std::memcpy(to.data() + done, memory, bytes);
    });
}

std::expected<void, DmaMiss> DmaClient::write(Gpa to, std::span<const std::byte> from) {
    return visit(to, from.size(), [&](std::byte* memory, std::uint64_t done, std::uint64_t bytes) {
        std::memcpy(memory, from.data() + done, bytes);
    });
}

std::expected<std::uint16_t, DmaMiss> DmaClient::load16(Gpa from) {
    if (from.value() % sizeof(std::uint16_t) != 0) return std::unexpected{DmaMiss::not_ram};
    std::uint16_t value = 0;
    const auto done = visit(from, sizeof(value), [&](std::byte* memory, std::uint64_t, std::uint64_t) {
        value = std::atomic_ref(*reinterpret_cast<std::uint16_t*>(memory)).load(std::memory_order_acquire);
    });
    if (!done) return std::unexpected{done.error()};
    return value;
}

std::expected<void, DmaMiss> DmaClient::store16(Gpa to, std::uint16_t value) {
    if (to.value() % sizeof(value) != 0) return std::unexpected{DmaMiss::not_ram};
    return visit(to, sizeof(value), [&](std::byte* memory, std::uint64_t, std::uint64_t) {
        std::atomic_ref(*reinterpret_cast<std::uint16_t*>(memory)).store(value, std::memory_order_release);
    });
}

std::expected<DmaHold, DmaMiss> DmaClient::hold(Gpa first, std::uint64_t bytes) {
    if (bytes == 0) return DmaHold{};
    bytes = std::min(bytes, std::max<std::uint64_t>(space_above(first), 1));
    const std::uint64_t pages = std::min(pages_of(first, bytes), most_pages_held);
    auto held = hold_pages(frame_of(first), pages, HoldFor::io);
    if (!held) return std::unexpected{held.error()};
    const std::uint64_t offset = page_offset(first);
    std::byte* const memory = pointer_to(held->pages().first()) + offset;
    const std::uint64_t there = std::min(bytes, held->pages().bytes() - offset);
    return DmaHold{std::move(*held), std::span{memory, there}};
}

void DmaClient::want(Gfn gfn, FaultAccess access, Then then) {
    const std::uint64_t number = inbox_->add(std::move(then));
    service_.want(inbox_, number, gfn, access);
}

void DmaClient::cancel() {
    service_.forget(inbox_);
    inbox_->clear();
}

std::size_t DmaClient::waiting() const { return inbox_->waiting(); }

}  // namespace penumbra::vmm
