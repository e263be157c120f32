// EPT under a guest's page tables (the ept_access_test_paddr_* entries of kvm-unit-tests' x86/vmx_tests.c), EPT
// pointers (its test_ept_eptp), and what walks made of Penumbra's own tables.
#include <gtest/gtest.h>

#include <optional>

#include "shadow-mmu/guest_walk/ept_walk.hpp"
#include "shadow-mmu/guest_walk/guest_walk.hpp"
#include "tests/support/walk_memory.hpp"

namespace penumbra::mmu::ept_table_test {
namespace {

constexpr std::uint64_t r = 1, w = 2, x = 4;
constexpr std::uint64_t page_4k = 6ULL << 3;  // write-back

/// Guest memory behind EPT: every access to a guest's table is an EPT walk of its own.
class NestedEntries final : public GuestEntries {
public:
    NestedEntries(EptEntries& ept, const EptMode& mode, EptAddress root, EptEntries& host)
        : ept_(ept), mode_(mode), root_(root), host_(host) {}

    [[nodiscard]] std::expected<std::uint64_t, EntryProblem> read(Gpa entry) override {
        const auto at = translate(entry, EptAccess::table_read);
        if (!at) return std::unexpected{EntryProblem::absent};
        return host_.read(*at);
    }
    [[nodiscard]] EntryExchange compare_exchange(Gpa entry, std::uint64_t expected, std::uint64_t desired) override {
        const auto at = translate(entry, EptAccess::table_update);
        return at ? host_.compare_exchange(*at, expected, desired) : EntryExchange::absent;
    }

    std::optional<EptFault> exit;  ///< the first EPT violation

private:
    [[nodiscard]] std::optional<EptAddress> translate(Gpa gpa, EptAccess access) {
        const EptWalkResult found = walk_ept(ept_, mode_, {root_, gpa, access, EptOrigin::linear_address});
        if (found) return found->address;
        if (!exit) exit = found.error();
        return std::nullopt;
    }

    EptEntries& ept_;
    const EptMode& mode_;
    EptAddress root_;
    EptEntries& host_;
};

/// A guest whose page table (the last of four) lies in a page with EPT permissions of the test's choice.
class EptPaddr : public testing::Test {
protected:
    static constexpr std::uint64_t guest_table = 0x4000, guest_entry = guest_table + 8;
    static constexpr std::uint64_t linear = 0x0080'4020'1000;

    EptPaddr() {
        for (std::uint64_t at = 0x1'0000; at < 0x1'4000; at += page_bytes) memory_.page(at);
        memory_.word(0x1'0000) = 0x1'1000 | r | w | x;
        memory_.word(0x1'1000) = 0x1'2000 | r | w | x;
        memory_.word(0x1'2000) = 0x1'3000 | r | w | x;
        for (std::uint64_t page = 1; page <= 5; ++page) {
            memory_.page(page << page_shift);
            memory_.word(0x1'3000 + page * 8) = page << page_shift | page_4k | r | w | x;
        }
        memory_.word(0x1008) = 0x2000 | 7 | 0x20;
        memory_.word(0x2008) = 0x3000 | 7 | 0x20;
        memory_.word(0x3008) = guest_table | 7 | 0x20;
        memory_.word(guest_entry) = 0x5000 | 7;
    }
    void table_permissions(std::uint64_t permissions) {
        memory_.word(0x1'3000 + (guest_table >> page_shift) * 8) = guest_table | page_4k | permissions;
    }
    /// nullopt: no EPT violation. `kind` has bits 0 to 2.
    std::optional<std::uint32_t> qualification(AccessKind kind) {
        NestedEntries entries(memory_, mode_, EptAddress{0x1'0000}, memory_);
        guest_ = walk_guest(entries, {}, {Gpa{0x1000}, Gva{linear}, {kind, Privilege::user}});
        if (!entries.exit) return std::nullopt;
        return entries.exit->qualification;
    }
    static constexpr std::uint32_t table_access = ept_violation::linear_valid;  // bit 8 is clear
    static constexpr std::uint32_t reads = ept_violation::read, updates = ept_violation::read | ept_violation::write;

    test::WalkMemory<EptAddress> memory_;
    EptMode mode_;
    GuestWalkResult guest_;
};

TEST_F(EptPaddr, paddr_not_present_ad_disabled) {
    table_permissions(0);
    for (const AccessKind kind : {AccessKind::read, AccessKind::write, AccessKind::execute}) {
        EXPECT_EQ(qualification(kind), reads | table_access);
    }
}
TEST_F(EptPaddr, paddr_not_present_ad_enabled) {
    mode_.accessed_dirty = true;
    table_permissions(0);
    for (const AccessKind kind : {AccessKind::read, AccessKind::write, AccessKind::execute}) {
        EXPECT_EQ(qualification(kind), updates | table_access);
    }
}
TEST_F(EptPaddr, paddr_read_only_ad_disabled) {
    table_permissions(r);
    EXPECT_EQ(qualification(AccessKind::read), updates | ept_violation::readable | table_access) << "A is to be set";
    memory_.word(guest_entry) |= 0x20;
    EXPECT_EQ(qualification(AccessKind::read), std::nullopt);
    EXPECT_TRUE(guest_);
    EXPECT_EQ(qualification(AccessKind::write), updates | ept_violation::readable | table_access) << "D is to be set";
    memory_.word(guest_entry) |= 0x40;
    EXPECT_EQ(qualification(AccessKind::write), std::nullopt);
}
TEST_F(EptPaddr, paddr_read_only_ad_enabled) {
    mode_.accessed_dirty = true;
    table_permissions(r);
    memory_.word(guest_entry) |= 0x60;
    for (const AccessKind kind : {AccessKind::read, AccessKind::write, AccessKind::execute}) {
        EXPECT_EQ(qualification(kind), updates | ept_violation::readable | table_access);
    }
}
TEST_F(EptPaddr, paddr_read_write) {
    table_permissions(r | w);
    for (const bool flags : {false, true}) {
        mode_.accessed_dirty = flags;
        for (const AccessKind kind : {AccessKind::read, AccessKind::write, AccessKind::execute}) {
            EXPECT_EQ(qualification(kind), std::nullopt);
            EXPECT_TRUE(guest_);
        }
    }
}
TEST_F(EptPaddr, paddr_read_write_execute) {
    table_permissions(r | w | x);
    for (const AccessKind kind : {AccessKind::read, AccessKind::write, AccessKind::execute}) {
        EXPECT_EQ(qualification(kind), std::nullopt);
        EXPECT_TRUE(guest_);
    }
}
TEST_F(EptPaddr, paddr_read_execute_ad_disabled) {
    table_permissions(r | x);
    const std::uint32_t denied = updates | ept_violation::readable | ept_violation::executable | table_access;
    EXPECT_EQ(qualification(AccessKind::write), denied);
    memory_.word(guest_entry) |= 0x60;
    EXPECT_EQ(qualification(AccessKind::write), std::nullopt);
}
TEST_F(EptPaddr, paddr_read_execute_ad_enabled) {
    mode_.accessed_dirty = true;
    table_permissions(r | x);
    memory_.word(guest_entry) |= 0x60;
    EXPECT_EQ(qualification(AccessKind::read),
              updates | ept_violation::readable | ept_violation::executable | table_access);
}
// The guest's own page fault comes before the violation that setting a flag would be.
TEST_F(EptPaddr, paddr_not_present_page_fault) {
    table_permissions(r);
    memory_.word(guest_entry) = 0x5000 | 5;
    EXPECT_EQ(qualification(AccessKind::write), std::nullopt);
    ASSERT_FALSE(guest_);
    EXPECT_EQ(guest_.error().cause, GuestFaultCause::write_denied);
}
TEST_F(EptPaddr, FlagsOfTheGuestsTablePageAreSet) {
    mode_.accessed_dirty = true;
    EXPECT_EQ(qualification(AccessKind::read), std::nullopt);
    EXPECT_EQ(memory_.word(0x1'3000 + 4 * 8) & 0x300, 0x300U);
    EXPECT_EQ(memory_.word(0x1'2000) & 0x300, 0x100U);
}

TEST(Eptp, OnlyWhatTheProcessorOffers) {
    constexpr std::uint64_t good = 0x1000 | 3 << 3 | 6;
    EptpCapabilities capabilities;
    capabilities.physical_bits = 46;
    ASSERT_TRUE(parse_eptp(good | 1 << 6, capabilities));
    EXPECT_EQ(parse_eptp(good | 1 << 6, capabilities)->root, EptAddress{0x1000});
    const auto problem = [&](std::uint64_t eptp) -> std::optional<EptpProblem> {
        const auto parsed = parse_eptp(eptp, capabilities);
        return parsed ? std::nullopt : std::optional{parsed.error()};
    };
    for (std::uint64_t type = 0; type < 8; ++type) {
        for (const bool uncacheable : {false, true}) {
            capabilities.uncacheable = uncacheable;
            const bool fine = type == 6 || (type == 0 && uncacheable);
            EXPECT_EQ(problem((good & ~7ULL) | type), fine ? std::nullopt : std::optional{EptpProblem::memory_type});
        }
    }
    for (std::uint64_t length = 0; length < 8; ++length) {
        for (const bool five : {false, true}) {
            capabilities.levels_5 = five;
            const bool fine = length == 3 || (length == 4 && five);
            EXPECT_EQ(problem((good & ~0x38ULL) | length << 3),
                      fine ? std::nullopt : std::optional{EptpProblem::walk_length});
        }
    }
    for (std::uint64_t low = 1; low < 32; ++low) EXPECT_EQ(problem(good | low << 7), EptpProblem::reserved_bits);
    for (unsigned bit = 46; bit < 64; ++bit) EXPECT_EQ(problem(good | 1ULL << bit), EptpProblem::reserved_bits);
    capabilities.accessed_dirty = false;
    EXPECT_EQ(problem(good | 1 << 6), EptpProblem::accessed_dirty);
    EXPECT_EQ(problem(good), std::nullopt);
}

}  // namespace
}  // namespace penumbra::mmu::ept_table_test
