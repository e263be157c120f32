#include "tests/support/dma_machine.hpp"

#include <algorithm>
#include <random>
#include <utility>

#include "base/assert.hpp"

namespace penumbra::test {

DmaMachine::DmaMachine(const DmaMachineOptions& options) {
    vmm::MemoryOptions memory;
    memory.memory_bytes = options.memory_bytes;
    memory.budget_bytes = options.budget_bytes;
    memory.compress = options.compress;
    memory.swap_path = options.swap_path;
    memory.take_out = options.take_out;
    memory.stale = options.stale;
    memory.dma = true;
    memory.on_error = [this](const Error&) { errors_.fetch_add(1); };
    memory.on_served = [](pid_t) {};
    Result<std::unique_ptr<vmm::MemorySystem>> made = vmm::MemorySystem::create(std::move(memory));
    if (!made) assertion_failed("memory", __FILE__, __LINE__, made.error().message());
    memory_ = std::move(*made);
}

DmaMachine::~DmaMachine() { stop_evictor(); }

void DmaMachine::write(Gpa to, std::span<const std::byte> from) {
    const Result<> written = memory_->write(to, from);
    if (!written) assertion_failed("written", __FILE__, __LINE__, written.error().message());
}

void DmaMachine::read(Gpa from, std::span<std::byte> to) {
    const Result<> done = memory_->read(from, to);
    if (!done) assertion_failed("read", __FILE__, __LINE__, done.error().message());
}

std::uint64_t DmaMachine::evict(GfnRange range, bridge::Blockable blockable) {
    std::vector<Hvp> pages;
    for (Gfn gfn = range.first(); gfn < range.end(); ++gfn) pages.push_back(host(gfn));
    std::sort(pages.begin(), pages.end());
    const vmm::Reclaimer::Evicted evicted = memory_->reclaimer().evict_pages(pages, blockable);
    if (evicted.reached < pages.size()) (void)memory_->reclaimer().wait_for_slots(256);
    return evicted.taken;
}

void DmaMachine::start_evictor(GfnRange range, std::uint64_t seed) {
    evicting_.store(true);
    evictor_ = Thread("evictor", ThreadRole::vmm, [this, range, seed] { evict_for_ever(range, seed); });
}

void DmaMachine::stop_evictor() {
    evicting_.store(false);
    evictor_.join();
}

void DmaMachine::evict_for_ever(GfnRange range, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    while (evicting_.load()) {
        const std::uint64_t first = random() % range.pages();
        const std::uint64_t pages = 1 + random() % std::min<std::uint64_t>(range.pages() - first, 64);
        const auto blockable = random() % 4 == 0 ? bridge::Blockable::no : bridge::Blockable::yes;
        (void)evict(GfnRange{range.first() + first, pages}, blockable);
    }
}

}  // namespace penumbra::test
