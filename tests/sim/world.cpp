#include "tests/sim/world.hpp"

#include <sstream>
#include <utility>

#include "shadow-mmu/fault/fault_handler.hpp"

namespace penumbra::test::sim {

namespace {

constexpr std::uint64_t region_pages = 512;
constexpr Hvp regions_meet{0x40'0000 * region_pages};

template <class T>
T must(Result<T> made) {
    PENUMBRA_ASSERT(made.has_value(), "no memory for a simulation");
    return std::move(*made);
}

mmu::AccessCounts counts_of(const Plan& plan) { return must(mmu::AccessCounts::create(plan.pages)); }

vmm::ReclaimLimits limits_of(const Plan& plan) {
    const std::uint64_t bytes = std::uint64_t{plan.budget_pages} << page_shift;
    return {.high_water = bytes - page_bytes,
            .low_water = bytes - 3 * page_bytes,
            .pool_share = page_bytes / 2,
            .limbo_target = plan.limbo_slots / 2,
            .resident_floor = 1};
}

}  // namespace

HvpRange World::window_of(const Plan& plan) { return {regions_meet - plan.pages / 2, plan.pages}; }

mmu::Memslots World::slots_of(const Plan& plan) {
    const std::uint64_t half = plan.pages / 2;
    const Hvp first = window_of(plan).first();
    return mmu::Memslots(
        {{GfnRange{Gfn{16}, half}, first}, {GfnRange{Gfn{0x10'0000}, plan.pages - half}, first + half}});
}

mmu::NodeArena World::arena() { return must(mmu::NodeArena::create(16)); }

std::unique_ptr<vmm::PagerState> World::state_of(const Plan& plan) {
    std::optional<vmm::CompressedTier> compressed;
    if (plan.compress) compressed.emplace(must(vmm::CompressedTier::create(std::uint64_t{1} << 20)));
    std::unique_ptr<vmm::FileTier> file;
    if (plan.file) file = must(vmm::FileTier::create({"/dev/shm", std::uint64_t{1} << 20, vmm::IoMode::blocking}));
    return std::make_unique<vmm::PagerState>(window_of(plan), 1, must(vmm::PageStates::create(plan.pages)),
                                             must(vmm::Limbo::create(plan.limbo_slots)), std::move(compressed),
                                             vmm::SlowTiers(std::move(file), nullptr),
                                             std::uint64_t{plan.budget_pages} << page_shift);
}

World::World(const Plan& the_plan, Threads& the_threads, Model& the_model)
    : plan(the_plan),
      threads(the_threads),
      model(the_model),
      host(window_of(plan), plan.seed, plan.moods, [this](std::string_view what) { threads.fail(what); }),
      state(state_of(plan)),
      ept(slots_of(plan), arena(), host),
      device("device", slots_of(plan), arena(), tlb),
      io("io", slots_of(plan), arena(), counts_of(plan)),
      ept_subscription(space.subscribe(ept)),
      device_subscription(space.subscribe(device)),
      io_subscription(space.subscribe(io)),
      reclaimer(
          *state, space, host, [this](Hvp page) { return io.in_use(page); }, limits_of(plan)),
      pager(must(vmm::Pager::create(*state, reclaimer, 2))),
      window_source(ept, *pager) {
    host.set_staging(state->limbo->staging());
    model.watch({&host, state.get(), &ept, &device, &tlb, &io});
    model_subscription = space.subscribe(model);
}

World::~World() {
    stop_paging();
    model.releasing();
    space.release();
    model.check_released();
    model.look_away();
}

void World::stop_paging() {
    state->stopping.store(true, std::memory_order_seq_cst);
    reclaimer.stop();
}

void World::verify_all() {
    host.set_moods({});
    for (std::uint32_t page = 0; page < plan.pages; ++page) {
        for (unsigned tries = 0; !host.reaches(0, model.host_page(page)); ++tries) {
            if (tries == 100) threads.fail("supply: a page does not come back");
            if (!mmu::handle_fault(ept, *pager, model.gfn(page), mmu::FaultAccess::read)) reclaimer.retry();
        }
        model.touch(page, false, "the last reader");
    }
}

std::string World::describe(const void* object) const {
    const auto number = [](const char* what, std::uint64_t n) { return std::string(what) + ' ' + std::to_string(n); };
    for (std::uint32_t page = 0; page < plan.pages; ++page) {
        if (object == host.wait_object(model.host_page(page))) return number("page", page);
    }
    const auto within = [object](const void* at, std::size_t bytes) {
        const auto* first = static_cast<const std::byte*>(at);
        return object >= first && object < first + bytes;
    };
    const HvpRange staging = state->limbo->staging();
    if (within(pointer_to(staging.first()), staging.bytes()))
        return number("slot",
                      static_cast<std::uint64_t>(static_cast<const std::byte*>(object) - pointer_to(staging.first())) >>
                          page_shift);
    if (within(&ept, sizeof ept)) return "ept's own";
    if (within(&tlb, sizeof tlb)) return "device tlb";
    if (within(&device, sizeof device)) return "device's own";
    if (within(&io, sizeof io)) return "io's own";
    if (within(&space, sizeof space)) return "bridge";
    if (within(&reclaimer, sizeof reclaimer)) return "reclaimer";
    if (within(state.get(), sizeof *state)) return "pager state";
    std::ostringstream text;
    text << '*' << (reinterpret_cast<std::uintptr_t>(object) & 0xFFFFF);
    return text.str();
}

}  // namespace penumbra::test::sim
