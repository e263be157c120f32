// The EPT accesses of kvm-unit-tests' x86/vmx_tests.c, by its names: what each must do at every level, as table entry
// and as large page, written down by hand. Those to guest page tables (paddr) are in guest_walk_ept_table_test.cpp.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "shadow-mmu/guest_walk/ept_walk.hpp"
#include "tests/support/walk_memory.hpp"

namespace penumbra::mmu::ept_access_test {
namespace {

using Memory = test::WalkMemory<EptAddress>;

constexpr std::uint64_t r = 1, w = 2, x = 4, xu = 1ULL << 10, large = 1ULL << 7, write_back = 6ULL << 3;
constexpr std::uint64_t all = r | w | x | xu;
constexpr std::uint64_t address = 1ULL << 39 | 1ULL << 30 | 1ULL << 21 | 1ULL << 12 | 0x123;  // index 1 everywhere

/// Answers to read, write, fetch and user's fetch: '.' allowed, V violation, M misconfiguration.
struct Expected {
    const char* name;
    std::uint64_t permissions;
    bool mode_based, execute_only;
    std::string_view answers;
};

constexpr Expected expectations[] = {
    {"not_present", 0, false, true, "VVVV"},
    {"not_present", 0, true, true, "VVVV"},
    {"read_only", r, false, true, ".VVV"},
    {"read_only", r, true, true, ".VVV"},
    {"write_only", w, false, true, "MMMM"},
    {"write_only", w, true, true, "MMMM"},
    {"read_write", r | w, false, true, "..VV"},
    {"read_write", r | w, true, true, "..VV"},
    {"execute_only", x, false, true, "VV.."},
    {"execute_only", x, false, false, "MMMM"},
    {"execute_only", x, true, true, "VV.V"},
    {"execute_user_only", xu, true, true, "VVV."},
    {"execute_user_only", xu, true, false, "MMMM"},
    {"execute_user_only", xu, false, true, "VVVV"},  // ignored: not present
    {"execute_both", x | xu, true, true, "VV.."},
    {"read_execute", r | x, false, true, ".V.."},
    {"read_execute", r | x, true, true, ".V.V"},
    {"read_execute_user_only", r | xu, true, true, ".VV."},
    {"read_execute_both", r | x | xu, true, true, ".V.."},
    {"write_execute", w | x, false, true, "MMMM"},
    {"write_execute", w | x, true, true, "MMMM"},
    {"read_write_execute", r | w | x, false, true, "...."},
    {"read_write_execute", r | w | x, true, true, "...V"},
    {"read_write_execute_user_only", r | w | xu, true, true, "..V."},
    {"read_write_execute_both", r | w | x | xu, true, true, "...."},
};

/// Chain with the entry under test at `level`, which is a page or leads on.
struct Chain {
    Memory memory;
    EptMode mode;
    unsigned tested;

    Chain(unsigned level, bool page, std::uint64_t entry_bits) : tested(level) {
        for (unsigned at = 4; at >= 1; --at) {
            memory.page(at << 12);
            memory.word(place(at)) = at == 1 ? 0x80'0000'0000 | write_back | all : (at - 1) << 12 | all;
        }
        std::uint64_t& entry = memory.word(place(level));
        entry = (entry & ~all) | entry_bits;
        if (page && level > 1) entry = 0x80'4000'0000 | write_back | large | entry_bits;
    }
    [[nodiscard]] static std::uint64_t place(unsigned level) { return (level << 12) + 8; }
    EptWalkResult walk(EptAccess access) {
        return walk_ept(memory, mode, {EptAddress{4 << 12}, Gpa{address}, access, EptOrigin::linear_address});
    }
};

void expect(const EptWalkResult& found, char answer, std::uint32_t kind, const Expected& rule, unsigned level,
            const std::string& what) {
    if (answer == '.') {
        EXPECT_TRUE(found) << what;
        return;
    }
    ASSERT_FALSE(found) << what;
    if (answer == 'M') {
        EXPECT_EQ(found.error().cause, EptFaultCause::misconfiguration) << what;
        EXPECT_EQ(static_cast<unsigned>(found.error().level), level) << what;
        return;
    }
    EXPECT_EQ(found.error().cause, EptFaultCause::violation) << what;
    // Below an entry that is there, all others permit everything.
    std::uint32_t qualification = kind | ept_violation::linear_valid | ept_violation::final_translation;
    if ((rule.permissions & r) != 0) qualification |= ept_violation::readable;
    if ((rule.permissions & w) != 0) qualification |= ept_violation::writable;
    if ((rule.permissions & x) != 0) qualification |= ept_violation::executable;
    if ((rule.permissions & xu) != 0 && rule.mode_based) qualification |= ept_violation::user_executable;
    EXPECT_EQ(found.error().qualification, qualification) << what;
}

class EptAccessTest : public testing::TestWithParam<Expected> {};
INSTANTIATE_TEST_SUITE_P(Each, EptAccessTest, testing::ValuesIn(expectations), [](const auto& test) {
    return std::string(test.param.name) + (test.param.mode_based ? "_mbec" : "") +
           (test.param.execute_only ? "" : "_no_xo");
});

TEST_P(EptAccessTest, AtEveryLevel) {
    constexpr std::array accesses{EptAccess::read, EptAccess::write, EptAccess::fetch, EptAccess::fetch_user};
    constexpr std::array kinds{ept_violation::read, ept_violation::write, ept_violation::fetch, ept_violation::fetch};
    const Expected& rule = GetParam();
    for (unsigned level = 1; level <= 4; ++level) {
        for (const bool page : {false, true}) {
            if (page && level == 4) continue;
            Chain chain(level, page, rule.permissions);
            chain.mode.mode_based_execute = rule.mode_based;
            chain.mode.execute_only = rule.execute_only;
            for (std::size_t i = 0; i < accesses.size(); ++i) {
                const std::string what = std::string(rule.name) + ", level " + std::to_string(level) +
                                         (page ? ", page" : ", table") + ", access " + std::to_string(i);
                expect(chain.walk(accesses[i]), rule.answers[i], kinds[i], rule, level, what);
            }
        }
    }
}

TEST(EptAccess, force_2m_page) {
    Chain whole(2, true, all);
    ASSERT_TRUE(whole.walk(EptAccess::read));
    EXPECT_EQ(whole.walk(EptAccess::read)->leaf, Level::page_2m);
    EXPECT_EQ(whole.walk(EptAccess::read)->address.value(), 0x80'4000'0000 + (address & 0x1F'FFFF));
    const EptWalkResult denied = Chain(2, true, r).walk(EptAccess::write);
    ASSERT_FALSE(denied);
    EXPECT_EQ(denied.error().qualification, ept_violation::write | ept_violation::readable |
                                                ept_violation::linear_valid | ept_violation::final_translation);
    EXPECT_EQ(Chain(2, true, w).walk(EptAccess::read).error().cause, EptFaultCause::misconfiguration);
}

TEST(EptAccess, reserved_bits) {
    struct Reserved {
        unsigned level;
        bool page;
        unsigned low, high;
    };
    constexpr unsigned width = 46;
    constexpr Reserved reserved[] = {{4, false, 3, 7},      {3, false, 3, 6},     {2, false, 3, 6},
                                     {2, true, 12, 20},     {3, true, 12, 29},    {1, true, width, 51},
                                     {2, true, width, 51},  {3, true, width, 51}, {2, false, width, 51},
                                     {3, false, width, 51}, {4, false, width, 51}};
    for (const Reserved& rule : reserved) {
        for (unsigned bit = rule.low; bit <= rule.high; ++bit) {
            Chain chain(rule.level, rule.page, all | 1ULL << bit);
            chain.mode.physical_bits = width;
            for (const EptAccess access : {EptAccess::read, EptAccess::write, EptAccess::fetch}) {
                const EptWalkResult found = chain.walk(access);
                ASSERT_FALSE(found) << "level " << rule.level << ", bit " << bit;
                EXPECT_EQ(found.error().cause, EptFaultCause::misconfiguration);
            }
            Chain absent(rule.level, rule.page, 1ULL << bit);
            absent.mode.physical_bits = width;
            EXPECT_EQ(absent.walk(EptAccess::read).error().cause, EptFaultCause::violation)
                << "an entry that is not present has no reserved bits";
        }
    }
}

TEST(EptAccess, ignored_bits) {
    for (unsigned level = 1; level <= 4; ++level) {
        for (unsigned bit = 8; bit < 64; ++bit) {
            if (bit > 11 && bit < 52) continue;
            if (bit == 10) continue;
            Chain chain(level, level < 4, all | 1ULL << bit);
            for (const EptAccess access : {EptAccess::read, EptAccess::write, EptAccess::fetch}) {
                EXPECT_TRUE(chain.walk(access)) << "level " << level << ", bit " << bit;
            }
        }
    }
}

}  // namespace
}  // namespace penumbra::mmu::ept_access_test
