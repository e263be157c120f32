// The formats of Penumbra's own tables, judged by the rules of the processor: what an entry is meant to be is what a
// walk makes of it, in every state, at every size, and after a split.
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <tuple>

#include "shadow-mmu/format/ept_format.hpp"
#include "shadow-mmu/format/x86_format.hpp"
#include "shadow-mmu/guest_walk/ept_walk.hpp"
#include "shadow-mmu/guest_walk/guest_walk.hpp"
#include "tests/support/walk_memory.hpp"

namespace penumbra::mmu::format_test {
namespace {

enum class Kind : std::uint8_t { read, write, execute, user_read };
constexpr std::array kinds{Kind::read, Kind::write, Kind::execute, Kind::user_read};

constexpr std::uint64_t root = 0x1'0000;
constexpr std::uint64_t table_at(Level level) { return root + (static_cast<std::uint64_t>(level) << page_shift); }

/// Where an access arrives, or nothing if it is denied for want of a translation or a permission. Whatever else a walk
/// may complain of is a defect of the format.
using Arrival = std::optional<std::uint64_t>;

template <Level Top, AccessedDirty Ad>
struct Ept {
    using Format = EptFormatOf<Top, Ad>;
    using Memory = test::WalkMemory<EptAddress>;

    static Arrival walk(Memory& memory, std::uint64_t address, Kind kind) {
        EptMode mode;
        mode.top = Top;
        mode.accessed_dirty = Ad == AccessedDirty::hardware;
        const EptAccess access = kind == Kind::write     ? EptAccess::write
                                 : kind == Kind::execute ? EptAccess::fetch
                                                         : EptAccess::read;
        const EptWalkResult found =
            walk_ept(memory, mode, {EptAddress{table_at(Top)}, Gpa{address}, access, EptOrigin::linear_address});
        if (found) {
            EXPECT_EQ(found->memory_type, 6) << "guest RAM is write-back";
            return found->address.value();
        }
        EXPECT_EQ(found.error().cause, EptFaultCause::violation);
        return std::nullopt;
    }
    static bool permits(Rights rights, Kind kind) {
        if (kind == Kind::write) return rights.has(Right::write);
        return kind != Kind::execute || rights.has(Right::execute);
    }
};

template <Level Top, AccessedDirty Ad>
struct X86 {
    using Format = X86FormatOf<Top, Ad>;
    using Memory = test::WalkMemory<Gpa>;

    static Arrival walk(Memory& memory, std::uint64_t address, Kind kind) {
        PagingMode mode;
        mode.top = Top;
        const AccessKind access = kind == Kind::write     ? AccessKind::write
                                  : kind == Kind::execute ? AccessKind::execute
                                                          : AccessKind::read;
        const Privilege privilege = kind == Kind::user_read ? Privilege::user : Privilege::supervisor;
        const MarkPages mark = Ad == AccessedDirty::hardware ? MarkPages::accessed_and_dirty : MarkPages::no;
        const GuestWalkResult found =
            walk_guest(memory, mode, {Gpa{table_at(Top)}, Gva{address}, {access, privilege}, mark});
        if (found) return found->gpa.value();
        EXPECT_TRUE(found.error().is_page_fault() && found.error().cause != GuestFaultCause::reserved_bit);
        return std::nullopt;
    }
    static bool permits(Rights rights, Kind kind) {
        if (kind == Kind::write) return rights.has(Right::write);
        if (kind == Kind::user_read) return rights.has(Right::user);
        return kind != Kind::execute || rights.has(Right::execute);
    }
};

template <class Judge>
class FormatWalk : public testing::Test {
protected:
    using TableFormat = typename Judge::Format;
    static constexpr std::uint64_t address = 0x0012'3456'7AB8;

    FormatWalk() {
        for (unsigned level = 1; level <= 5; ++level) memory_.page(table_at(Level{static_cast<std::uint8_t>(level)}));
    }
    static std::uint64_t slot(Level level) {
        const unsigned shift = page_shift + index_bits * (static_cast<unsigned>(level) - 1);
        return table_at(level) + (address >> shift & (entries_per_node - 1)) * 8;
    }
    /// Links tables down to `level` and puts an entry there.
    void put(Level level, std::uint64_t entry) {
        for (Level at = TableFormat::top_level; at != level; at = below(at)) {
            memory_.word(slot(at)) = TableFormat::table(Hvp{table_at(below(at)) >> page_shift});
        }
        memory_.word(slot(level)) = entry;
    }
    Arrival arrive(Kind kind) { return Judge::walk(memory_, address, kind); }
    static std::uint64_t offset(Level level) { return address % (pages_spanned(level) * page_bytes); }

    /// Calls fn(level, rights) for every size of page and every combination of rights.
    template <class Fn>
    static void for_each_leaf(Fn&& fn) {
        for (const Level level : {Level::page_4k, Level::page_2m, Level::page_1g}) {
            for (unsigned choice = 0; choice < 8; ++choice) {
                Rights rights;
                if ((choice & 1) != 0) rights = rights | Right::write | Right::host_write;
                if ((choice & 2) != 0) rights = rights | Right::execute;
                if ((choice & 4) != 0) rights = rights | Right::user;
                fn(level, rights);
            }
        }
    }

    typename Judge::Memory memory_;
};

using Judges = testing::Types<Ept<Level::top_4, AccessedDirty::emulated>, Ept<Level::top_4, AccessedDirty::hardware>,
                              Ept<Level::top_5, AccessedDirty::hardware>, X86<Level::top_4, AccessedDirty::emulated>,
                              X86<Level::top_4, AccessedDirty::hardware>, X86<Level::top_5, AccessedDirty::hardware>>;
TYPED_TEST_SUITE(FormatWalk, Judges);

TYPED_TEST(FormatWalk, LeafPermitsWhatItsRightsSay) {
    using Format = typename TypeParam::Format;
    this->for_each_leaf([&](Level level, Rights rights) {
        const Hvp page{pages_spanned(level) * 5};
        const std::uint64_t leaf = Format::leaf(page, rights, level);
        this->put(level, leaf);
        for (const Kind kind : kinds) {
            const Arrival there = address_of(page).value() + this->offset(level);
            EXPECT_EQ(this->arrive(kind), TypeParam::permits(rights, kind) ? there : std::nullopt)
                << "level " << static_cast<unsigned>(level) << ", kind " << static_cast<unsigned>(kind);
        }
    });
}

TYPED_TEST(FormatWalk, HiddenStatesTranslateNothing) {
    using Format = typename TypeParam::Format;
    this->for_each_leaf([&](Level level, Rights rights) {
        const std::uint64_t leaf = Format::leaf(Hvp{pages_spanned(level) * 5}, rights, level);
        const std::uint64_t aged = Format::aged(leaf);
        for (const std::uint64_t hidden :
             {std::uint64_t{0}, Format::busy(), Format::retired(), Format::frozen(leaf), Format::frozen(aged)}) {
            this->put(level, hidden);
            for (const Kind kind : kinds) EXPECT_EQ(this->arrive(kind), std::nullopt) << "entry " << hidden;
        }
        this->put(level, aged);
        const bool walked = Format::accessed_dirty == AccessedDirty::hardware;
        EXPECT_EQ(this->arrive(Kind::read).has_value(), walked) << "entry " << aged;
        this->put(level, Format::write_protected(leaf));
        EXPECT_EQ(this->arrive(Kind::write), std::nullopt);
        EXPECT_TRUE(this->arrive(Kind::read));
    });
}

TYPED_TEST(FormatWalk, SplitLeafTranslatesAsBefore) {
    using Format = typename TypeParam::Format;
    this->for_each_leaf([&](Level level, Rights rights) {
        if (level == Level::page_4k) return;
        const std::uint64_t leaf = Format::leaf(Hvp{pages_spanned(level) * 5}, rights, level);
        this->put(level, leaf);
        std::array<Arrival, kinds.size()> before;
        for (std::size_t i = 0; i < kinds.size(); ++i) before[i] = this->arrive(kinds[i]);
        const std::uint64_t index = this->slot(below(level)) % page_bytes / 8;
        this->put(below(level), Format::child(leaf, index, level));
        for (std::size_t i = 0; i < kinds.size(); ++i) EXPECT_EQ(this->arrive(kinds[i]), before[i]);
    });
}

// Where the walker sets the bits, they are the ones that the format reads.
TYPED_TEST(FormatWalk, FlagsThatAWalkSetsAreRead) {
    using Format = typename TypeParam::Format;
    if (Format::accessed_dirty == AccessedDirty::emulated) return;
    this->for_each_leaf([&](Level level, Rights rights) {
        const std::uint64_t fresh = Format::leaf(Hvp{pages_spanned(level) * 5}, rights, level);
        this->put(level, Format::cleaned(Format::aged(fresh)));
        std::uint64_t& entry = this->memory_.word(this->slot(level));
        EXPECT_FALSE(Format::young(entry) || Format::is_dirty(entry));
        std::ignore = this->arrive(Kind::read);
        EXPECT_TRUE(Format::young(entry));
        EXPECT_FALSE(Format::is_dirty(entry));
        std::ignore = this->arrive(Kind::write);
        EXPECT_EQ(Format::is_dirty(entry), rights.has(Right::write));
    });
}

}  // namespace
}  // namespace penumbra::mmu::format_test
