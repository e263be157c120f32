#include "bench/common/paging_side.hpp"

#include <fmt/core.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <sstream>
#include <string_view>

#include "base/mapped_region.hpp"
#include "base/thread.hpp"
#include "bench/common/memory_cgroup.hpp"
#include "bench/common/paging_guest.hpp"
#include "bench/common/placement.hpp"
#include "vmm/machine.hpp"

namespace penumbra::bench {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::string_view list_option = "--side-list=";
constexpr std::string_view budget_option = "--side-budget=";
constexpr std::string_view cgroup_option = "--side-cgroup=";

PagingCounts operator-(const PagingCounts& a, const PagingCounts& b) {
    return {a.faults - b.faults, a.swap_ins - b.swap_ins, a.rescued - b.rescued, a.prefetched - b.prefetched};
}

abi::TouchList& list_in(const MappedRegion& region) { return *reinterpret_cast<abi::TouchList*>(region.data()); }

/// Hands out the list each time the benchmark asks, and answers what that took.
class Errands final : public vmm::TouchSource {
public:
    Errands(const PagingMemory& memory, const MappedRegion& list, Gpa list_for_toucher, std::uint64_t first)
        : memory_(memory), list_(list_in(list)), list_for_toucher_(list_for_toucher), first_(first) {}

    [[nodiscard]] std::optional<Touch> next(std::uint32_t) override {
        char order = 0;
        if (::read(STDIN_FILENO, &order, 1) != 1) return std::nullopt;
        list_.first = first_;
        counts_ = memory_.counts();
        cpu_ = CpuTime::of_process();
        start_ = Clock::now();
        return Touch{list_for_toucher_, static_cast<abi::TouchKind>(list_.kind)};
    }
    void touched(std::uint32_t, std::uint64_t) override {
        PagingRound round;
        round.seconds = std::chrono::duration<double>(Clock::now() - start_).count();
        round.cpu = CpuTime::of_process() - cpu_;
        round.counts = memory_.counts() - counts_;
        round.places = memory_.places();
        round.mismatches = list_.mismatches;
        round.first_bad = list_.first_bad;
        std::ostringstream line;
        line << round;
        fmt::print("{}\n", line.str());
        (void)std::fflush(stdout);
    }

private:
    const PagingMemory& memory_;
    abi::TouchList& list_;
    const Gpa list_for_toucher_;
    const std::uint64_t first_;
    PagingCounts counts_;
    CpuTime cpu_;
    Clock::time_point start_;
};

void touch_from_host(const MappedRegion& list, Errands& errands) {
    while (const auto touch = errands.next(0)) {
        const InGuestScope in_guest(*ThreadRegister::self());
        abi::work_through(list_in(list), touch->kind == abi::TouchKind::write);
        errands.touched(0, 0);
    }
}

Result<> touch(PagingMemory& memory, const MappedRegion& list, PagingAccessor accessor, const Cpus& cpus) {
    cpus.place(0, Placement::faulting_cpu);
    if (accessor == PagingAccessor::guest) {
        Errands errands(memory, list, guest_list, paging_first.value());
        return run_paging_guest(memory, list.pages(), errands);
    }
    const auto* const first = pointer_to(memory.window().first() + frame_of(paging_first).value());
    Errands errands(memory, list, guest_list, reinterpret_cast<std::uintptr_t>(first));
    touch_from_host(list, errands);
    return {};
}

Result<> run(const PagingSideOptions& options) {
    (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);
    PENUMBRA_TRY(MemoryCgroup::enter(options.cgroup));
    PENUMBRA_TRY_ASSIGN(const Cpus cpus, Cpus::choose());
    PENUMBRA_TRY_ASSIGN(const MappedRegion list,
                        MappedRegion::shared_file(options.list, touch_list_bytes, 0, MapAccess::read_write));
    // As a machine with such a guest would choose for itself.
    const auto ring = options.accessor == PagingAccessor::guest ? vmm::GuestRing::ring3 : vmm::GuestRing::ring0;
    const vmm::FaultReading reading = vmm::best_fault_reading(vmm::kvm_flavour(), ring, 1);
    PENUMBRA_TRY_ASSIGN(const std::unique_ptr<PagingMemory> memory,
                        options.budget_bytes == 0 ? kernel_memory() : penumbra_memory(options.budget_bytes, reading));
    PENUMBRA_TRY(memory->fill());
    fmt::print("ready\n");
    (void)std::fflush(stdout);
    Result<> outcome;
    Thread toucher("vcpu-0", ThreadRole::vcpu, [&] { outcome = touch(*memory, list, options.accessor, cpus); });
    toucher.join();
    return outcome;
}

}  // namespace

std::vector<std::string> PagingSideOptions::arguments() const {
    return {std::string{"--side="} + name_of(accessor), std::string{list_option} + std::to_string(list),
            std::string{budget_option} + std::to_string(budget_bytes), std::string{cgroup_option} + cgroup};
}

bool PagingSideOptions::take(std::string_view argument) {
    const auto after = [&](std::string_view option) {
        return argument.starts_with(option) ? std::optional{std::string{argument.substr(option.size())}} : std::nullopt;
    };
    if (argument == "--side=host") return accessor = PagingAccessor::host, true;
    if (argument == "--side=guest") return accessor = PagingAccessor::guest, true;
    if (const auto text = after(list_option)) return list = std::atoi(text->c_str()), true;
    if (const auto text = after(budget_option)) return budget_bytes = std::strtoull(text->c_str(), nullptr, 10), true;
    if (const auto text = after(cgroup_option)) return cgroup = *text, true;
    return false;
}

std::ostream& operator<<(std::ostream& out, const PagingRound& r) {
    return out << r.seconds << ' ' << r.cpu.user << ' ' << r.cpu.system << ' ' << r.counts.faults << ' '
               << r.counts.swap_ins << ' ' << r.counts.rescued << ' ' << r.counts.prefetched << ' '
               << r.places.resident_pages << ' ' << r.places.pool_bytes << ' ' << r.mismatches << ' ' << r.first_bad;
}

std::istream& operator>>(std::istream& in, PagingRound& r) {
    return in >> r.seconds >> r.cpu.user >> r.cpu.system >> r.counts.faults >> r.counts.swap_ins >> r.counts.rescued >>
           r.counts.prefetched >> r.places.resident_pages >> r.places.pool_bytes >> r.mismatches >> r.first_bad;
}

int run_paging_side(const PagingSideOptions& options) {
    const Result<> outcome = run(options);
    if (outcome) return 0;
    fmt::print(stderr, "{} side: {}\n", options.budget_bytes == 0 ? "kernel" : "penumbra", outcome.error().message());
    return 1;
}

}  // namespace penumbra::bench
