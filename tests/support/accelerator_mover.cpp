#include "tests/support/accelerator_mover.hpp"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace penumbra::test {

using abi::AccelRegister;
using abi::AccelResult;

AcceleratorMover::AcceleratorMover(AcceleratorMachine& machine, const MoverOptions& options)
    : machine_(machine), options_(options), random_(options.seed), process_(machine, 3, first_table) {
    for (std::uint64_t i = 0; i < 2 * pages; ++i) free_.push_back(first_data + i);
    for (std::uint64_t i = 0; i < pages; ++i) {
        pages_.push_back({free_.back(), false, page_of(random_())});
        free_.pop_back();
        machine_.write(address_of(pages_[i].at), pages_[i].content);
        map(i);
    }
    // A second root above the same tables.
    machine_.store(address_of(first_table + 16), machine_.load(address_of(process_.root())));
    process_.enter(options_.flags);
    enable_processes(machine_, RequestQueue::present);
}

void AcceleratorMover::map(std::uint64_t number) {
    // The device has to set some flags itself.
    const std::uint64_t flags = below(4) == 0 ? mmu::guest_entry::accessed | mmu::guest_entry::dirty : 0;
    pages_[number].mapped = true;
    process_.map(address_of_page(number), pages_[number].at, all_rights & ~flags);
}

/// Nothing of the device's is in flight afterwards, unless it waits for an announcement.
void AcceleratorMover::take_away(std::uint64_t number) {
    if (!std::exchange(pages_[number].mapped, false)) return;
    process_.unmap(address_of_page(number));
}

void AcceleratorMover::settle_elsewhere(std::uint64_t number) {
    ++moves_;
    Page& page = pages_[number];
    const auto content = load_page(machine_, page.at);
    std::swap(page.at, free_[below(free_.size())]);
    machine_.write(address_of(page.at), content);
    for (const Gfn left : free_) {
        if (below(4) == 0) store_page(machine_, left, random_());
    }
}

void AcceleratorMover::move() {
    const std::uint64_t number = below(pages);
    const Gfn left = pages_[number].at;
    if (!pages_[number].mapped) return;
    take_away(number);
    settle_elsewhere(number);
    store_page(machine_, left, random_());
    if (below(2) == 0) map(number);
}

void AcceleratorMover::answer_requests() {
    const std::uint64_t newest = machine_.get(AccelRegister::request_response);
    if (newest == answered_) return;
    const auto request = wait_for_request(machine_, newest);
    if (!request) return;
    answered_ = newest;
    const std::uint64_t number = (request->address - place.value()) / page_bytes;
    if (number < pages && !pages_[number].mapped) map(number);
    respond(machine_, newest, Served::yes);
}

void AcceleratorMover::switch_root() {
    const Gfn root = below(2) == 0 ? process_.root() : first_table + 16;
    set_pasid_entry(
        machine_, process_.pasid(),
        {address_of(root).value() | options_.flags | static_cast<std::uint64_t>(abi::PasidFlag::present), 0});
}

bool AcceleratorMover::finish_command(const abi::AccelCommand& command) {
    const std::uint64_t head = machine_.get(AccelRegister::head);
    machine_.put(command);
    machine_.doorbell();
    if (!announces()) move();
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds{10};
    while (machine_.get(AccelRegister::head) == head) {
        answer_requests();
        if (!announces() && below(4) == 0) move();
        if (std::chrono::steady_clock::now() > until) return false;
        ::sched_yield();
    }
    return true;
}

std::vector<std::byte> AcceleratorMover::content_from(std::uint64_t offset, std::uint64_t bytes) const {
    std::vector<std::byte> found;
    for (std::uint64_t i = offset; i < offset + bytes; ++i)
        found.push_back(pages_[i / page_bytes].content[i % page_bytes]);
    return found;
}

void AcceleratorMover::set_content(std::uint64_t offset, std::span<const std::byte> bytes) {
    for (const std::byte byte : bytes) {
        pages_[offset / page_bytes].content[offset % page_bytes] = byte;
        ++offset;
    }
}

std::string AcceleratorMover::check_sum(std::uint64_t from, std::uint64_t bytes) {
    const std::uint64_t slot = machine_.get(AccelRegister::head);
    if (!finish_command(process_.sum(place + from, bytes))) return "a sum hangs";
    const abi::AccelCommand done = machine_.slot(slot);
    if (result_of(done) != AccelResult::done) return fmt::format("a sum ended with {}", done.result);
    return done.value == sum_of(content_from(from, bytes)) ? "" : "a wrong sum";
}

std::string AcceleratorMover::one_command() {
    constexpr std::uint64_t half = pages / 2 * page_bytes;
    const std::uint64_t from = below(half);
    const std::uint64_t bytes = 1 + below(half - from);
    const std::uint64_t to = half + below(half - bytes + 1);
    switch (below(3)) {
        case 0:
            return check_sum(from, bytes);
        case 1: {
            const std::uint64_t pattern = 0x0101'0101'0101'0101 * below(256);
            if (!finish_command(process_.fill(place + to, bytes, pattern))) return "a fill hangs";
            set_content(to, std::vector<std::byte>(bytes, std::byte(pattern)));
            return check_sum(to, bytes);
        }
        default:
            if (!finish_command(process_.copy(place + from, place + to, bytes))) return "a copy hangs";
            set_content(to, content_from(from, bytes));
            return check_sum(half, half);
    }
}

std::string AcceleratorMover::run() {
    for (unsigned i = 0; i < options_.commands; ++i) {
        if (announces()) {
            const std::uint64_t number = below(pages);
            const Gfn left = pages_[number].at;
            take_away(number);
            const bool one = below(2) == 0;
            if (!finish_command(process_.invalidate(one ? address_of_page(number) : place, one ? 1 : 0))) {
                return "an announcement hangs";
            }
            settle_elsewhere(number);
            store_page(machine_, left, random_());
        }
        if (below(4) == 0) switch_root();
        if (const std::string wrong = one_command(); !wrong.empty()) {
            return fmt::format("seed {}, command {}: {}", options_.seed, i, wrong);
        }
    }
    return {};
}

}  // namespace penumbra::test
