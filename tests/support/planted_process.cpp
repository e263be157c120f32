// Plants one bug for the life of a test program: PENUMBRA_PLANT=NAME a Plant, shadow:NAME a ShadowBug, walk:NAME a
// WalkBug. tests/invariants/check.py asks so whether a test notices; a name that does not exist ends the program with a
// status of its own, so that it is not taken for a test that failed.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "base/planted.hpp"
#include "shadow-mmu/guest_walk/walk_bugs.hpp"
#include "shadow-mmu/shadow/shadow_bugs.hpp"
#include "tests/support/enum_names.hpp"

namespace penumbra::test {
namespace {

static_assert(all_are_named<Plant>() && all_are_named<mmu::ShadowBug>() && all_are_named<mmu::WalkBug>());
static_assert(enumerator_named<Plant>("skip_ept_zap") == Plant::skip_ept_zap);
static_assert(enumerator_named<mmu::ShadowBug>("skip_drain") == mmu::ShadowBug::skip_drain);

constexpr int no_such_plant = 86;

bool plant_named(std::string_view name) {
    constexpr std::string_view shadow = "shadow:", walk = "walk:";
    if (name.starts_with(shadow)) {
        const auto bug = enumerator_named<mmu::ShadowBug>(name.substr(shadow.size()));
        if (bug) mmu::shadow_bug_detail::planted.store(*bug);
        return bug.has_value();
    }
    if (name.starts_with(walk)) {
        const auto bug = enumerator_named<mmu::WalkBug>(name.substr(walk.size()));
        if (bug) mmu::walk_bug_detail::walk_bug.store(*bug);
        return bug.has_value();
    }
    const auto which = enumerator_named<Plant>(name);
    if (which) plant(*which, -1);
    return which.has_value();
}

class PlantedProcess final : public testing::Environment {
public:
    void SetUp() override {
        const char* name = std::getenv("PENUMBRA_PLANT");
        if (name == nullptr || plant_named(name)) return;
        std::fprintf(stderr, "PENUMBRA_PLANT=%s: no such planted bug\n", name);
        std::_Exit(no_such_plant);
    }
};

[[maybe_unused]] const testing::Environment* const planted_process =
    testing::AddGlobalTestEnvironment(std::make_unique<PlantedProcess>().release());

}  // namespace
}  // namespace penumbra::test
