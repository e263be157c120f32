// Cases for the guest image walk_sweep, and the verdict on what a processor did with them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "guest-images/common/walk_sweep_abi.hpp"
#include "tests/support/walk_sweeps.hpp"

namespace penumbra::test {

namespace image = abi::walk_sweep;

/// `count` cases that a processor with these features can be asked: at that number of levels: a sample of the access
/// sweep, of the rights sweeps (4 levels) and of random entries, sorted by mode.
[[nodiscard]] std::vector<SweepCase> image_cases(const image::Control& features, std::uint64_t count,
                                                 std::uint64_t seed);
/// How many cases to run: PENUMBRA_WALK_CASES, or 210000.
[[nodiscard]] std::uint64_t image_case_count();
/// A sweep's case as the image can run it; nullopt where the processor cannot be put into its mode.
[[nodiscard]] std::optional<SweepCase> image_case(const image::Control& features, const SweepCase& made);
[[nodiscard]] image::Case encode(const SweepCase& made);

/// Where a judge is known to be wrong itself.
struct Deviations {
    /// QEMU reports a reserved bit without the P flag. SDM volume 3, 4.7: RSVD can be set only if P is.
    bool reserved_without_present = false;
    /// QEMU tells no key where a user touches a supervisor page. The SDM's words on the PK flag ask for the page's and
    /// the access's kind, not for the reason of the fault.
    bool no_key_for_user_on_supervisor_page = false;
};

struct ImageVerdict {
    std::uint64_t cases = 0;
    std::uint64_t faults = 0;
    std::uint64_t in_ring_3 = 0;
    std::uint64_t early_accessed = 0;  ///< denied, with accessed flags of upper entries set: SDM 4.8 permits it
    std::uint64_t deviations = 0;      ///< agreed but for a known deviation of the judge
    std::uint64_t differences = 0;
    std::vector<std::string> first;  ///< the first few differences

    ImageVerdict& operator+=(const ImageVerdict& other);
};
/// Compares with what the guest walk says. The processor ran `results.size()` cases.
[[nodiscard]] ImageVerdict judge(std::span<const SweepCase> cases, std::span<const image::CaseResult> results,
                                 Deviations deviations = {});
[[nodiscard]] std::string summary(const ImageVerdict& verdict, const image::Control& features,
                                  const std::string& judged_by);

}  // namespace penumbra::test
