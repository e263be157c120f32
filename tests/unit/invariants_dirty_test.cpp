// No write is lost and none invented: pages hold the number of their last write, a harvest copies what it is told of,
// and writes go on in the middle of each harvest. (Model: KVM's selftest dirty_log_test.c.)
#include <gtest/gtest.h>

#include <array>
#include <random>
#include <set>
#include <vector>

#include "shadow-mmu/format/ept_format.hpp"
#include "shadow-mmu/format/x86_format.hpp"
#include "shadow-mmu/table/dirty_tracking.hpp"
#include "tests/support/table_probe.hpp"

namespace penumbra::mmu::invariants {
namespace {

template <class Format, DirtyMode mode>
class LoggedGuest {
public:
    static constexpr std::uint64_t pages = 700;
    static constexpr GfnRange everything{Gfn{0}, pages};

    LoggedGuest() {
        for (std::uint64_t i = 0; i < pages; ++i) {
            PENUMBRA_ASSERT(test::install(table_, Gfn{i}, Hvp{i}, rights_of(Permission::read_write)), "a new table");
        }
        FlushBatch<Processor> batch(processor_);
        tracking_.begin(everything, batch);
        for (std::uint64_t i = 0; i < pages; ++i) before_.insert(i);  // writes before the beginning may be told
        processor_.before_flush = [this] { write_some(3); };
    }
    void write_some(unsigned writes) {
        for (unsigned i = 0; i < writes; ++i) {
            const std::uint64_t page = random_() % 8 == 0 ? random_() % pages : random_() % 16;
            if (!processor_.access(Gfn{page}, Touch::write)) {
                PENUMBRA_ASSERT(test::grant(table_, Gfn{page}, Touch::write), "the page may be written");
                log_.mark(Gfn{page});
                PENUMBRA_ASSERT(processor_.access(Gfn{page}, Touch::write).has_value(), "the page may be written");
            }
            memory_[page] = ++serial_;
            written_.insert(page);
        }
    }
    void harvest() {
        FlushBatch<Processor> batch(processor_);
        tracking_.harvest(everything, batch, [this](Gfn gfn) {
            copy_[gfn.value()] = memory_[gfn.value()];
            invented_ += before_.contains(gfn.value()) || written_.contains(gfn.value()) ? 0U : 1U;
        });
        before_ = std::exchange(written_, {});
    }
    void quiet() { processor_.before_flush = nullptr; }
    [[nodiscard]] std::uint64_t lost() const {
        std::uint64_t lost = 0;
        for (std::uint64_t i = 0; i < pages; ++i) lost += copy_[i] == memory_[i] ? 0U : 1U;
        return lost;
    }
    [[nodiscard]] std::uint64_t invented() const { return invented_; }

private:
    using Table = PageTable<Format, AtomicEntryMemory, test::ProbeNodes>;
    using Processor = test::ModelledProcessor<Table>;

    Table table_{test::ProbeNodes(16)};
    Processor processor_{table_};
    Memslots slots_{{{everything, Hvp{0}}}};
    DirtyBitmap log_{slots_};
    DirtyTracking<Table> tracking_{table_, log_, mode};
    std::array<std::uint64_t, pages> memory_{}, copy_{};
    std::set<std::uint64_t> before_, written_;  // written since the last harvest but one, and since the last
    std::uint64_t serial_ = 0, invented_ = 0;
    std::mt19937_64 random_{1};
};

template <class Guest>
void expect_exact_log() {
    Guest guest;
    for (unsigned round = 0; round < 40; ++round) {
        guest.write_some(20);
        guest.harvest();
    }
    guest.quiet();
    guest.harvest();
    EXPECT_EQ(guest.lost(), 0U) << "a write was never reported";
    EXPECT_EQ(guest.invented(), 0U) << "a page was reported that nobody wrote";
}

TEST(InvariantsDirty, ProtectionLosesAndInventsNothing) {
    expect_exact_log<LoggedGuest<EptFormat, DirtyMode::write_protect>>();
    expect_exact_log<LoggedGuest<X86FormatOf<Level::top_5, AccessedDirty::hardware>, DirtyMode::write_protect>>();
}

TEST(InvariantsDirty, APageThatIsWrittenAgainAndAgainIsListedOnce) {
    const Memslots slots({{GfnRange{Gfn{0}, 64}, Hvp{0}}});
    DirtyRing ring(8);
    DirtyBitmap log(slots, &ring);
    std::vector<Gfn> listed, marked;
    for (unsigned cycle = 0; cycle < 2; ++cycle) {
        for (const std::uint64_t page : {3U, 5U, 3U, 3U}) log.mark(Gfn{page});
        listed.clear();
        EXPECT_EQ(ring.drain(listed), DirtyRing::Drained::listed);
        EXPECT_EQ(listed, (std::vector{Gfn{3}, Gfn{5}}));
        log.take(GfnRange{Gfn{0}, 64}, marked);  // and from here on they are listed anew
    }
}

TEST(InvariantsDirty, DirtyBitsLoseAndInventNothing) {
    expect_exact_log<LoggedGuest<EptFormatOf<Level::top_4, AccessedDirty::hardware>, DirtyMode::dirty_bit>>();
}

}  // namespace
}  // namespace penumbra::mmu::invariants
