// The model: what must be true of the whole machine after every step.
#include <algorithm>
#include <cstring>

#include "tests/sim/simulation.hpp"

namespace penumbra::test {

std::uint64_t Simulation::word_at(Hvp page, std::size_t offset) {
    std::uint64_t word = 0;
    std::memcpy(&word, pointer_to(page) + offset, sizeof word);
    return word;
}

std::uint64_t Simulation::number_of(Hvp page) const {
    const Gfn gfn = *machine_.ept.memslots().to_guest(page);
    return gfn < SimMachine::high ? gfn - SimMachine::low : SimMachine::slot_pages + (gfn - SimMachine::high);
}

bool Simulation::held_off(std::uint64_t page) {
    const Hvp first{machine_.host(page).value() / SimMachine::region_pages * SimMachine::region_pages};
    return std::ranges::any_of(open_, [&](const Bracket& bracket) {
        return host_.event(bracket.ticket).ranges.overlaps(HvpRange{first, SimMachine::region_pages});
    });
}

bool Simulation::in_open_bracket(std::uint64_t page) {
    return std::ranges::any_of(open_, [&](const Bracket& bracket) {
        return host_.event(bracket.ticket).ranges.contains(machine_.host(page));
    });
}

bool Simulation::guarded(const bridge::RangeSet& ranges) const {
    return std::ranges::any_of(held_, [&](const Held& held) { return ranges.contains(machine_.host(held.page)); });
}

bool Simulation::check_page(std::uint64_t page) {
    const Gfn gfn = SimMachine::gfn(page);
    const Hvp host = machine_.host(page);
    const bool in_window = model_[page].in_window;
    if (machine_.window.present(host) != in_window) blame("the window is not as the model");
    if (machine_.ept.present(gfn) != in_window) blame("an EPT entry is not as the window");
    const bool on_device = machine_.device.present(gfn);
    if (on_device && !in_window) blame("a device entry outlived its page");
    if (machine_.device_tlb.lookup(gfn) && !on_device) blame("the device's TLB outlived its entry");
    const bool good = word_at(host, 0) == model_[page].version && word_at(host, last_word) == model_[page].version;
    if (in_window && !good) blame("the window holds an old version");
    return on_device;
}

void Simulation::check() {
    std::uint64_t in_window = 0;
    std::uint64_t on_device = 0;
    for (std::uint64_t page = 0; page < SimMachine::pages && !wrong_; ++page) {
        on_device += check_page(page) ? 1U : 0U;
        in_window += model_[page].in_window ? 1U : 0U;
    }
    if (wrong_) return;
    const auto& ept = machine_.ept.counters();
    const auto& device = machine_.device.counters();
    if (ept.mapped.get() - ept.zapped.get() != in_window) blame("the EPT table's counters are off");
    if (device.mapped.get() - device.zapped.get() != on_device) blame("the device table's counters are off");
    if (machine_.window.violations() != 0) blame("a page was put where one was, or taken where none was");
    if (done_.size() % 4 != 0) return;  // the rest takes longer
    const auto stale = machine_.vcpu_tlb.stale(
        [&](Gfn gfn, Hvp page) { return machine_.ept.present(gfn) && machine_.ept.memslots().to_host(gfn) == page; });
    if (!stale.empty()) blame("a vCPU's TLB outlived its entry");
    if (open_.empty()) {
        const bool quiet = machine_.ept.sequence().active() == 0 && machine_.device.sequence().active() == 0;
        if (!quiet) blame("a sequence is active with no invalidation open");
    }
}

}  // namespace penumbra::test
