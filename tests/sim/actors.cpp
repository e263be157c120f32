#include "tests/sim/actors.hpp"

#include <algorithm>
#include <string>

#include "base/planted.hpp"
#include "notifier-bridge/source/memory_ops.hpp"
#include "shadow-mmu/fault/fault_handler.hpp"

namespace penumbra::test::sim {

using bridge::Blockable;
using mmu::FaultAccess;
using mmu::FaultOutcome;

void Player::run() {
    for (const Action& action : actor_.actions) {
        if (world_.stopping()) return;
        const auto own = static_cast<std::size_t>(action.op);
        ++seen_.runs[own];
        for (std::size_t other = 0; other < op_count; ++other) {
            if (running_[other] > 0) ++seen_.pairs[std::min(own, other)][std::max(own, other)];
        }
        ++running_[own];
        world_.threads.note(name_of(action.op).data(), action.page);
        tries_ = 0;
        play(action);
        --running_[own];
    }
}

ThreadRole Player::role_of(Op op) {
    if (op <= Op::vcpu_clear) return ThreadRole::vcpu;
    return op == Op::device_read || op == Op::device_write || op == Op::come_and_go ? ThreadRole::device
                                                                                    : ThreadRole::vmm;
}

bool Player::invalidates(Op op) { return op >= Op::evict && op <= Op::come_and_go; }

void Player::play(const Action& action) {
    switch (action.op) {
        case Op::vcpu_read:
        case Op::vcpu_write:
        case Op::vcpu_clear:
            return vcpu(action);
        case Op::vmm_touch:
            return vmm(action);
        case Op::device_read:
        case Op::device_write:
            return device(action);
        case Op::io_hold:
        case Op::io_again:
            return io(action);
        case Op::io_two:
            return io_two(action);
        case Op::evict:
            return evict(action, Blockable::yes);
        case Op::evict_now:
            return evict(action, Blockable::no);
        case Op::sweep:
            (void)world_.reclaimer.evict(action.pages, Blockable::yes);
            return;
        case Op::discard:
            return discard(action);
        case Op::pack:
        case Op::kick:
        case Op::want_slots:
            return pack(action);
        case Op::come_and_go:
            return come_and_go(action);
        case Op::sabotage:
            return sabotage(action);
        case Op::count:
            return;
    }
}

void Player::linger(std::uint32_t turns) {
    if (turns > most_turns) return world_.threads.pause(std::chrono::milliseconds{200} * turns);
    for (std::uint32_t i = 0; i < turns; ++i) world_.threads.give_way();
}

/// False: the machine is going down, and the page does not come.
template <class Table>
bool Player::fault(Table& table, mmu::PageSource& source, std::uint32_t page, FaultAccess access) {
    const Result<FaultOutcome> outcome = mmu::handle_fault(table, source, world_.model.gfn(page), access);
    if (outcome && (*outcome == FaultOutcome::installed || *outcome == FaultOutcome::spurious)) return true;
    if (world_.stopping()) return false;
    if (++tries_ > 300)
        world_.threads.fail("supply: a fault never succeeds: " +
                            (outcome ? std::string(name_of(*outcome)) : outcome.error().message()));
    if (!outcome) {
        world_.reclaimer.retry();  // as the user's `cont`
        world_.threads.pause(std::chrono::milliseconds{1});
        return true;
    }
    if (*outcome != FaultOutcome::retry) world_.threads.fail("fault: ended with " + std::string(name_of(*outcome)));
    ++seen_.retries;
    return true;
}

// ---- guests and devices ----

void Player::vcpu(const Action& action) {
    const std::uint32_t page = page_of(action.page);
    const bool writes = action.op != Op::vcpu_read;
    if (action.pages > 1 && world_.plan.file)
        world_.pager->read_ahead(pages_of(action));  // as a fault worker with a guess
    for (;;) {
        schedule_point(Step::host, world_.host.wait_object(world_.model.host_page(page)));
        if (world_.host.reaches(number_, world_.model.host_page(page))) break;
        if (!fault(world_.ept, *world_.pager, page, writes ? FaultAccess::write : FaultAccess::read)) return;
    }
    if (action.op == Op::vcpu_clear) return world_.model.clear(page);
    world_.model.touch(page, writes, "a vCPU");
}

void Player::vmm(const Action& action) {
    const std::uint32_t page = page_of(action.page);
    for (;;) {
        if (const auto access = world_.ept.access(world_.model.gfn(page))) {
            const Model::Reliance relies(world_.model, page, "the VMM");
            world_.model.touch(page, true, "the VMM");
            for (std::uint32_t i = 0; i < action.linger; ++i) world_.threads.give_way();
            return world_.model.touch(page, false, "the VMM");
        }
        if (!fault(world_.ept, *world_.pager, page, FaultAccess::write)) return;
    }
}

void Player::use_device(mmu::DeviceTable& table, const Action& action, std::uint32_t page) {
    const bool main = &table == &world_.device;
    for (;;) {
        if (main) world_.model.engine_inside(true);
        const auto access = table.access(world_.model.gfn(page));
        if (main) world_.model.engine_inside(false);
        if (access) {
            if (access->page != world_.model.host_page(page))
                world_.threads.fail("stale: a device reached another page");
            const Model::Reliance relies(world_.model, page, "a device");
            world_.model.touch(page, action.op != Op::device_read, "a device");
            for (std::uint32_t i = 0; i < action.linger % 4; ++i) world_.threads.give_way();
            return world_.model.touch(page, false, "a device");
        }
        if (!fault(table, world_.window_source, page, FaultAccess::write)) return;
    }
}

void Player::device(const Action& action) {
    for (std::uint32_t i = 0; i < action.pages; ++i) use_device(world_.device, action, page_of(action.page + i));
}

std::optional<mmu::IoTable::Hold> Player::hold(std::uint32_t page, std::uint32_t pages) {
    for (;;) {
        if (auto hold = world_.io.hold(world_.model.gfn(page), pages, mmu::HoldFor::io)) return hold;
        if (!fault(world_.io, world_.window_source, page, FaultAccess::write)) return std::nullopt;
    }
}

void Player::touch_held(const mmu::IoTable::Hold& hold, bool writes) {
    for (Hvp at = hold.pages().first(); at < hold.pages().end(); ++at) {
        const auto page = static_cast<std::uint32_t>(world_.state->index_of(at));
        const Model::Reliance relies(world_.model, page, "I/O");
        world_.model.touch(page, writes, "I/O");
        if (at == hold.pages().first()) world_.threads.give_way();
    }
}

void Player::io(const Action& action) {
    std::optional<mmu::IoTable::Hold> first = hold(page_of(action.page), action.pages);
    if (!first) return;
    std::optional<mmu::IoTable::Hold> second;
    if (action.op == Op::io_again) {
        second = first->again(mmu::HoldFor::access);
        first.reset();
    }
    const mmu::IoTable::Hold& held = second ? *second : *first;
    const Model::Reliance relies(world_.model, page_of(action.page), "I/O");
    touch_held(held, true);
    linger(action.linger);
    touch_held(held, false);
}

void Player::io_two(const Action& action) {
    const std::optional<mmu::IoTable::Hold> first = hold(page_of(action.page), 1);
    if (!first) return;
    const Model::Reliance relies(world_.model, page_of(action.page), "I/O");
    const std::optional<mmu::IoTable::Hold> second = hold(page_of(action.page + action.pages), 1);
    if (!second) return;
    touch_held(*first, true);
    touch_held(*second, true);
}

}  // namespace penumbra::test::sim
