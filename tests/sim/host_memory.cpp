#include "tests/sim/host_memory.hpp"

#include <cstring>
#include <utility>

#include "base/schedule_point.hpp"

namespace penumbra::test::sim {

namespace {

constexpr std::size_t last_word = page_bytes - sizeof(Stamp);
constexpr Stamp torn = ~Stamp{0};

}  // namespace

Stamp stamp_at(const std::byte* page) {
    Stamp first = 0;
    Stamp last = 0;
    std::memcpy(&first, page, sizeof first);
    std::memcpy(&last, page + last_word, sizeof last);
    return first == last ? first : torn;
}

void put_stamp(std::byte* page, Stamp stamp) {
    std::memcpy(page, &stamp, sizeof stamp);
    std::memcpy(page + last_word, &stamp, sizeof stamp);
}

HostMemory::HostMemory(HvpRange window, std::uint64_t seed, HostMoods moods, Fail fail)
    : window_(window), moods_(moods), fail_(std::move(fail)), random_(seed + 1), pages_(window.pages()) {}

void HostMemory::set_staging(HvpRange staging) {
    staging_ = staging;
    slots_.assign(staging.pages(), false);
}

Result<> HostMemory::put_in(Hvp page, mmu::Content content) {
    Page& to = at(page);
    schedule_point(Step::host, &to);
    if (to.present) fail_("host: a page was put in where one is");
    if (one_in(moods_.refuses_put_in)) {
        ++counts_.refused;
        return fail("put a page into", "simulated memory");
    }
    // The kernel allocates the page before it copies.
    for (int i = 0; i < 3 && content.kind == mmu::Content::Kind::copy; ++i) schedule_point(Step::host, &to.stamp);
    const Stamp stamp = content.kind == mmu::Content::Kind::zero ? 0 : stamp_at(pointer_to(content.source));
    if (stamp == torn) fail_("content: a page was put in half old, half new");
    schedule_point(Step::host, &to.stamp);
    to.stamp = stamp;
    to.present = true;
    ++counts_.put_in;
    wake(HvpRange{page, 1});
    return {};
}

void HostMemory::leave(Page& page) {
    if (!page.present) fail_("host: a page was taken out that is not there");
    page.present = false;
    page.cached_by = 0;
}

std::size_t HostMemory::take_out(HvpRange run, Hvp staging) {
    for (std::size_t i = 0; i < run.pages(); ++i) {
        Page& page = at(run.first() + i);
        schedule_point(Step::host, &page);
        if (one_in(moods_.keeps_page)) {
            ++counts_.kept;
            return i;
        }
        const Hvp slot = staging + i;
        if (!staging_.contains(slot) || slots_[slot - staging_.first()])
            fail_("staging: a page was moved to a slot that is full");
        leave(page);
        put_stamp(pointer_to(slot), page.stamp);
        slots_[slot - staging_.first()] = true;
        ++counts_.taken;
    }
    return run.pages();
}

void HostMemory::drop(HvpRange run) {
    for (Hvp page = run.first(); page < run.end(); ++page) {
        schedule_point(Step::host, &at(page));
        leave(at(page));
        ++counts_.dropped;
    }
}

void HostMemory::wake(HvpRange run) {
    for (Hvp page = run.first(); page < run.end(); ++page) {
        if (Scheduler* simulated = scheduler()) simulated->wake(&at(page), Scheduler::Wake::all);
    }
}

void HostMemory::empty_slots(HvpRange slots) {
    for (Hvp slot = slots.first(); slot < slots.end(); ++slot) {
        schedule_point(Step::host, pointer_to(slot));
        put_stamp(pointer_to(slot), 0);
        slots_[slot - staging_.first()] = false;
    }
}

bool HostMemory::reaches(std::size_t vcpu, Hvp page) {
    Page& there = at(page);
    const std::uint32_t bit = 1U << vcpu;
    if ((there.cached_by & bit) == 0) {
        if (!there.present) return false;
        there.cached_by |= bit;
    }
    if (!there.present) fail_("stale: a vCPU's TLB reached a page that is out");
    return true;
}

}  // namespace penumbra::test::sim
