#include "tests/sim/simulation.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <sstream>

namespace penumbra::test {

using bridge::Blockable;
using bridge::TakeOut;
using mmu::FaultAccess;
using mmu::FaultOutcome;

namespace {

constexpr mmu::FaultLimits limits{.attempts = 64, .hold_off = std::chrono::milliseconds{0}};

}  // namespace

std::optional<std::string> Simulation::run(unsigned steps) {
    for (unsigned i = 0; i < steps && !wrong_; ++i) {
        step(often[random_() % often.size()], random_() % SimMachine::pages);
        check();
    }
    held_.clear();
    while (!wrong_ && !open_.empty()) end();
    if (!wrong_) check();
    return wrong_;
}

void Simulation::blame(std::string what) {
    if (wrong_) return;
    static constexpr std::array names{"fault",  "device fault", "access", "device access", "hold",
                                      "let go", "begin",        "end",    "move"};
    static_assert(names.size() == static_cast<std::size_t>(Op::count));
    std::ostringstream text;
    text << "seed " << seed_ << ", step " << done_.size() << ": " << what << "; after";
    for (std::size_t i = done_.size() > 12 ? done_.size() - 12 : 0; i < done_.size(); ++i) {
        text << (i + 1 == done_.size() ? " " : ", ") << names[static_cast<std::size_t>(done_[i].op)] << ' '
             << done_[i].page;
    }
    text << ". Replay with PENUMBRA_SEED=" << seed_;
    wrong_ = text.str();
}

void Simulation::step(Op op, std::uint64_t page) {
    done_.push_back({op, page});
    switch (op) {
        case Op::fault:
            return fault(page);
        case Op::device_fault:
            return device_fault(page);
        case Op::access:
            return access(page);
        case Op::device_access:
            return device_access(page);
        case Op::hold:
            return hold(page);
        case Op::let_go:
            if (!held_.empty()) held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(page % held_.size()));
            return;
        case Op::begin:
            return begin(page);
        case Op::end:
            return end();
        case Op::move:
            return move(page);
        case Op::count:
            return;
    }
}

// ---- the guest and the device ----

Result<mmu::ResolvedPage> Simulation::resolve(Hvp page, FaultAccess access) {
    Result<mmu::ResolvedPage> resolved = machine_.pager.resolve(page, access);
    if (depth_ < 2 && random_() % 2 == 0) {
        ++depth_;
        ++seen_.interrupted;
        interfere(number_of(page));
        // The window's fault below a device's fault waits for real: nothing may stay in its way.
        while (in_device_fault_ && held_off(number_of(page))) end();
        --depth_;
    }
    return resolved;
}

void Simulation::interfere(std::uint64_t page) {
    switch (random_() % 6) {
        case 0:
            return step(Op::fault, page);  // another vCPU is faster
        case 1:
            return step(Op::move, page);  // the page goes to another tier
        case 2:
            return step(Op::begin, page);  // an invalidation begins and stays open
        case 3:
            return step(Op::end, page);  // another one ends
        case 4:                          // a whole one passes
            if (open_.size() == most_open) return;
            step(Op::begin, page);
            return step(Op::end, page);
        default:
            return step(Op::begin, random_() % SimMachine::pages);
    }
}

void Simulation::fault(std::uint64_t page) {
    const auto outcome = mmu::handle_fault(machine_.ept, *this, SimMachine::gfn(page), FaultAccess::write, limits);
    if (!outcome) {
        ++seen_.held_off;
        if (!held_off(page)) blame("a fault was held off by nothing");
        return;
    }
    if (*outcome == FaultOutcome::spurious) {
        if (!model_[page].in_window) blame("a fault was called spurious, and the page is out");
        return;
    }
    if (*outcome != FaultOutcome::installed) return blame("a fault ended with " + std::string(name_of(*outcome)));
    ++seen_.installed;
    if (model_[page].in_window) blame("a page was installed twice");
    if (in_open_bracket(page)) blame("a page was installed inside an open invalidation");
    model_[page].in_window = true;
}

void Simulation::device_fault(std::uint64_t page) {
    // The window's own fault runs inside; its install is seen in the window, and only there.
    in_device_fault_ = true;
    const auto outcome =
        mmu::handle_fault(machine_.device, window_source_, SimMachine::gfn(page), FaultAccess::write, limits);
    in_device_fault_ = false;
    const bool came = machine_.window.present(machine_.host(page)) && !model_[page].in_window;
    if (came && in_open_bracket(page)) blame("a device brought a page into an open invalidation");
    if (came) model_[page].in_window = true;
    if (!outcome) {
        if (!held_off(page)) blame("a device fault was held off by nothing");
        return;
    }
    if (*outcome != FaultOutcome::installed && *outcome != FaultOutcome::spurious) {
        return blame("a device fault ended with " + std::string(name_of(*outcome)));
    }
    if (!machine_.device.present(SimMachine::gfn(page))) blame("a device fault installed nothing");
}

void Simulation::touch(std::uint64_t page, Hvp reached, const char* who) {
    if (reached != machine_.host(page)) return blame(std::string(who) + " reached another page");
    if (!model_[page].in_window) return blame(std::string(who) + " reached a page that is out of the window");
    if (word_at(reached, 0) != model_[page].version) return blame(std::string(who) + " read an old version");
    if (random_() % 2 == 0) return;
    model_[page].version = ++writes_;
    std::memcpy(pointer_to(reached), &writes_, sizeof writes_);
    std::memcpy(pointer_to(reached) + last_word, &writes_, sizeof writes_);
}

void Simulation::access(std::uint64_t page) {
    const Gfn gfn = SimMachine::gfn(page);
    if (const auto cached = machine_.vcpu_tlb.lookup(gfn)) return touch(page, *cached, "a vCPU's TLB");
    if (!machine_.ept.present(gfn)) return;
    machine_.vcpu_tlb.fill(gfn, machine_.host(page), [&] { return machine_.ept.present(gfn); });
    touch(page, machine_.host(page), "a vCPU");
}

void Simulation::device_access(std::uint64_t page) {
    const auto access = machine_.device.access(SimMachine::gfn(page));
    if (!access) return;
    ++seen_.device_hits;
    touch(page, access->page, "the device");
}

void Simulation::hold(std::uint64_t page) {
    if (held_.size() == most_held) return;
    if (random_() % 2 == 0) {
        if (auto access = machine_.device.access(SimMachine::gfn(page)))
            held_.push_back({page, std::move(access->guard)});
    } else {
        if (auto access = machine_.ept.access(SimMachine::gfn(page))) held_.push_back({page, std::move(access->guard)});
    }
}

// ---- the host ----

void Simulation::begin(std::uint64_t page) {
    if (open_.size() == most_open) return;
    bridge::InvalidationEvent event;
    for (std::uint64_t i = 0; i <= random_() % 3; ++i) {
        const std::uint64_t slot = page / SimMachine::slot_pages;
        const std::uint64_t left = (slot + 1) * SimMachine::slot_pages - page;
        event.ranges.add(HvpRange{machine_.host(page), 1 + random_() % std::min(left, std::uint64_t{8})});
        page = random_() % SimMachine::pages;
    }
    const bool busy = guarded(event.ranges);
    // One thread plays all parts: what would wait for an access held by itself may not be blockable.
    event.blockable = busy || random_() % 2 == 0 ? Blockable::no : Blockable::yes;
    const bool keeps = random_() % 4 != 0;
    event.reason = keeps ? bridge::Reason::swap_out : bridge::Reason::discard;

    std::size_t part = 0;
    while (std::ranges::any_of(open_, [&](const Bracket& b) { return b.staging == part; })) ++part;
    const Hvp staging = staging_.pages().first() + part * SimMachine::pages;
    machine_.window.keep(machine_.host(random_() % SimMachine::pages));
    const auto ticket = host_.begin(std::move(event), keeps ? std::optional{staging} : std::nullopt);
    if (ticket.has_value() == busy) return blame(busy ? "an access in flight did not block" : "blocked by nobody");
    if (!ticket) {
        ++seen_.would_block;
        return;
    }
    open_.push_back({*ticket, part});
    settle(open_.back());
}

void Simulation::settle(const Bracket& bracket) {
    const auto outcomes = host_.outcomes(bracket.ticket);
    const std::array<std::byte, page_bytes> zeroes{};
    std::size_t index = 0;
    for (const HvpRange& range : host_.event(bracket.ticket).ranges.ranges()) {
        for (Hvp host = range.first(); host < range.end(); ++host, ++index) {
            Page& page = model_[number_of(host)];
            if (outcomes.empty()) {
                machine_.pager.save(host, zeroes.data());
                page = {};
                continue;
            }
            if (page.in_window == (outcomes[index] == TakeOut::absent)) blame("an outcome of swap_out is wrong");
            if (outcomes[index] == TakeOut::kept) ++seen_.kept;
            if (outcomes[index] != TakeOut::taken) continue;
            const Hvp slot = staging_.pages().first() + bracket.staging * SimMachine::pages + index;
            if (word_at(slot, 0) != page.version) blame("the wrong content came out of the window");
            machine_.pager.save(host, pointer_to(slot));
            page.in_window = false;
            ++seen_.taken;
        }
    }
}

void Simulation::end() {
    if (open_.empty()) return;
    std::swap(open_[random_() % open_.size()], open_.back());
    host_.end(open_.back().ticket);
    open_.pop_back();
}

void Simulation::move(std::uint64_t page) {
    if (model_[page].in_window) return;
    std::array<std::byte, page_bytes> content{};
    std::memcpy(content.data(), &model_[page].version, sizeof(std::uint64_t));
    std::memcpy(content.data() + last_word, &model_[page].version, sizeof(std::uint64_t));
    machine_.pager.save(machine_.host(page), content.data());
}

}  // namespace penumbra::test
