#include "tests/sim/mutants.hpp"

#include <algorithm>
#include <array>
#include <iomanip>
#include <sstream>
#include <vector>

namespace penumbra::test::sim {

namespace {

constexpr auto all_mutants = std::to_array<Mutant>({
    {Plant::skip_ept_zap, "skip_ept_zap"},
    {Plant::skip_device_zap, "skip_device_zap"},
    {Plant::skip_ept_flush, "skip_ept_flush"},
    {Plant::skip_device_flush, "skip_device_flush"},
    {Plant::skip_sequence_recheck, "skip_sequence_recheck"},
    {Plant::drop_invalidate_end, "drop_invalidate_end"},
    {Plant::skip_drain, "skip_drain"},
    {Plant::skip_io_drain, "skip_io_drain"},
    {Plant::reverse_starts, "reverse_starts"},
    {Plant::keep_aborted_starts, "keep_aborted_starts"},
    {Plant::straddle_change, "straddle_change"},
    {Plant::end_uncounted, "end_uncounted"},
    {Plant::end_wakes_nobody, "end_wakes_nobody"},
    {Plant::hold_off_first_range, "hold_off_first_range"},
    {Plant::sample_while_open, "sample_while_open"},
    {Plant::lift_early, "lift_early"},
    {Plant::no_hold_off, "no_hold_off"},
    {Plant::recheck_before_claim, "recheck_before_claim"},
    {Plant::sample_after_resolve, "sample_after_resolve"},
    {Plant::skip_commit, "skip_commit"},
    {Plant::keep_claim, "keep_claim"},
    {Plant::conclude_twice, "conclude_twice"},
    {Plant::publish_before_fill, "publish_before_fill"},
    {Plant::publish_failed_fill, "publish_failed_fill"},
    {Plant::forget_conclude, "forget_conclude"},
    {Plant::fill_tlb_unchecked, "fill_tlb_unchecked"},
    {Plant::announce_late, "announce_late"},
    {Plant::hold_unchecked, "hold_unchecked"},
    {Plant::clear_kept_page, "clear_kept_page"},
    {Plant::keep_frozen, "keep_frozen"},
    {Plant::wait_while_frozen, "wait_while_frozen"},
    {Plant::last_hold_wakes_nobody, "last_hold_wakes_nobody"},
    {Plant::access_wakes_nobody, "access_wakes_nobody"},
    {Plant::shift_staging, "shift_staging"},
    {Plant::pack_pinned, "pack_pinned"},
    {Plant::commit_old_slot, "commit_old_slot"},
    {Plant::drop_before_install, "drop_before_install"},
    {Plant::abandon_keeps_word, "abandon_keeps_word"},
    {Plant::abandon_keeps_charge, "abandon_keeps_charge"},
    {Plant::abandon_keeps_pin, "abandon_keeps_pin"},
    {Plant::keep_discarded, "keep_discarded"},
    {Plant::keep_lost_blob, "keep_lost_blob"},
    {Plant::release_before_emptying, "release_before_emptying"},
    {Plant::write_back_unchecked, "write_back_unchecked"},
    {Plant::forget_keeps_copy, "forget_keeps_copy"},
    {Plant::copy_unchecked, "copy_unchecked"},
    {Plant::rescue_forgets_copy, "rescue_forgets_copy"},
    {Plant::kick_wakes_nobody, "kick_wakes_nobody"},
});

}  // namespace

std::span<const Mutant> mutants() { return all_mutants; }

std::optional<Kill> hunt(const Mutant& mutant, std::uint64_t first, std::uint64_t most) {
    const Planted planted(mutant.plant);
    const Report report = play_apart(seeds(first, most));
    if (!report.failure) return std::nullopt;
    return Kill{report.failure->index + 1, report.failure->kind()};
}

std::string mutant_table(unsigned hunts, std::uint64_t most, unsigned& survivors) {
    constexpr std::uint64_t apart = 100'000;
    std::ostringstream out;
    survivors = 0;
    for (const Mutant& mutant : all_mutants) {
        std::vector<std::uint64_t> needed;
        std::string how = "never found";
        for (unsigned i = 0; i < hunts; ++i) {
            const std::optional<Kill> kill = hunt(mutant, apart * i, most);
            needed.push_back(kill ? kill->seeds : most + 1);
            if (kill) how = kill->how;
        }
        std::ranges::sort(needed);
        if (needed.back() > most) ++survivors;
        out << std::left << std::setw(26) << mutant.name << std::right << std::setw(7) << needed[needed.size() / 2]
            << std::setw(7) << needed.back() << "  " << how << '\n';
    }
    return out.str();
}

}  // namespace penumbra::test::sim
