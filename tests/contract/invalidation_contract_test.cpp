// One contract, five holders of translations: the accelerator's table with its TLB, with small leaves and with large
// ones, the virtio devices' table, the window behind EptTable, and a table with a modelled TLB that forgets nothing by
// itself. After start nothing answers for the range, after end installs work again, and nothing outside the range
// changed.
#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "base/planted.hpp"
#include "notifier-bridge/address_space.hpp"
#include "notifier-bridge/source/scripted_source.hpp"
#include "tests/contract/subjects.hpp"

namespace penumbra::test {
namespace {

using bridge::Blockable;
using bridge::InvalidationEvent;
using bridge::ScriptedSource;
using mmu::FaultOutcome;

template <class Subject>
class InvalidationContract : public testing::Test {
protected:
    static constexpr std::uint64_t pages = Subject::pages;

    InvalidationContract() : subscription_(space_.subscribe(subject_.table())), source_(space_) {}

    std::optional<FaultOutcome> install(std::uint64_t gfn) {
        const mmu::FaultLimits limits{.attempts = 4, .hold_off = std::chrono::milliseconds{0}};
        const auto outcome =
            mmu::handle_fault(subject_.table(), subject_.source(), Gfn{gfn}, mmu::FaultAccess::write, limits);
        return outcome ? std::optional{*outcome} : std::nullopt;
    }
    void install_all() {
        for (std::uint64_t gfn = 0; gfn < pages; ++gfn) {
            ASSERT_EQ(install(gfn), FaultOutcome::installed);
            ASSERT_TRUE(subject_.answers(Gfn{gfn}));
        }
        // Where leaves grow they do it where a full region is missed in.
        for (std::uint64_t gfn = 0; gfn < pages; ++gfn) ASSERT_TRUE(subject_.answers(Gfn{gfn}));
    }
    InvalidationEvent event(const std::vector<GfnRange>& ranges, Blockable blockable = Blockable::yes) {
        InvalidationEvent made;
        made.reason = bridge::Reason::discard;
        made.blockable = blockable;
        for (const GfnRange& range : ranges) {
            made.ranges.add(HvpRange{*subject_.table().memslots().to_host(range.first()), range.pages()});
        }
        return made;
    }
    /// Exactly the pages of `gone` do not answer.
    void expect_gone(const std::vector<GfnRange>& gone) {
        for (std::uint64_t gfn = 0; gfn < pages; ++gfn) {
            bool expected = true;
            for (const GfnRange& range : gone) expected = expected && !range.contains(Gfn{gfn});
            EXPECT_EQ(subject_.answers(Gfn{gfn}), expected) << gfn;
        }
    }
    void check(const std::vector<GfnRange>& ranges, Blockable blockable) {
        install_all();
        const auto ticket = source_.begin(event(ranges, blockable));
        ASSERT_TRUE(ticket);
        expect_gone(ranges);
        EXPECT_FALSE(install(ranges.front().first().value())) << "installed between start and end";
        source_.end(*ticket);
        expect_gone(ranges);
        for (const GfnRange& range : ranges) {
            for (Gfn gfn = range.first(); gfn < range.end(); ++gfn) {
                EXPECT_EQ(install(gfn.value()), FaultOutcome::installed);
            }
        }
        expect_gone({});
        EXPECT_EQ(subject_.table().sequence().active(), 0U);
        const auto& counters = subject_.table().counters();
        EXPECT_EQ(counters.mapped.get() - counters.zapped.get(), pages);
    }

    Subject subject_;
    bridge::AddressSpace space_;
    bridge::Subscription subscription_;
    ScriptedSource source_;
};
using Subjects = testing::Types<DeviceSubject, LargeDeviceSubject, IoSubject, EptSubject, ModelledSubject>;
TYPED_TEST_SUITE(InvalidationContract, Subjects);

TYPED_TEST(InvalidationContract, HoldsForOnePage) { this->check({GfnRange{Gfn{7}, 1}}, Blockable::yes); }
TYPED_TEST(InvalidationContract, HoldsForARange) { this->check({GfnRange{Gfn{10}, 100}}, Blockable::yes); }
TYPED_TEST(InvalidationContract, HoldsForEverything) {
    this->check({GfnRange{Gfn{0}, TestFixture::pages}}, Blockable::yes);
}
TYPED_TEST(InvalidationContract, HoldsWithoutBlocking) {
    this->check({GfnRange{Gfn{3}, 5}, GfnRange{Gfn{50}, 2}}, Blockable::no);
}
TYPED_TEST(InvalidationContract, HoldsForMoreRunsThanABatchHolds) {
    std::vector<GfnRange> ranges;
    for (std::uint64_t gfn = 0; gfn < TestFixture::pages; gfn += 2) ranges.push_back(GfnRange{Gfn{gfn}, 1});
    this->check(ranges, Blockable::yes);
}

TYPED_TEST(InvalidationContract, AbsentPagesStayAbsent) {
    const auto ticket = this->source_.begin(this->event({GfnRange{Gfn{0}, TestFixture::pages}}));
    ASSERT_TRUE(ticket);
    this->source_.end(*ticket);
    this->expect_gone({GfnRange{Gfn{0}, TestFixture::pages}});
    EXPECT_EQ(this->subject_.table().counters().tlb_flushes.get(), 0U) << "nothing was there to flush";
}

TYPED_TEST(InvalidationContract, OverlappingBracketsHoldOffUntilTheLast) {
    this->install_all();
    const auto outer = this->source_.begin(this->event({GfnRange{Gfn{0}, 20}}));
    const auto inner = this->source_.begin(this->event({GfnRange{Gfn{5}, 20}}));
    ASSERT_TRUE(outer && inner);
    this->expect_gone({GfnRange{Gfn{0}, 25}});
    this->source_.end(*outer);
    EXPECT_FALSE(this->install(6));
    this->source_.end(*inner);
    EXPECT_EQ(this->install(6), FaultOutcome::installed);
}

TYPED_TEST(InvalidationContract, RefusalChangesNothing) {
    this->install_all();
    const auto busy = this->source_.begin(this->event({GfnRange{Gfn{40}, 1}}));
    ASSERT_TRUE(busy);
    this->source_.end(*busy);
    ASSERT_EQ(this->subject_.table().claim(Gfn{40}), mmu::Claim::taken);  // a fault has the page in hand
    EXPECT_FALSE(this->source_.begin(this->event({GfnRange{Gfn{30}, 20}}, Blockable::no)));
    this->expect_gone({GfnRange{Gfn{40}, 1}});
    EXPECT_EQ(this->subject_.table().sequence().active(), 0U);
    this->subject_.table().abandon(Gfn{40});
    EXPECT_EQ(this->install(40), FaultOutcome::installed);
}

TYPED_TEST(InvalidationContract, ReleaseDropsEverythingForGood) {
    this->install_all();
    this->space_.release();
    for (std::uint64_t gfn = 0; gfn < TestFixture::pages; ++gfn) {
        EXPECT_FALSE(this->subject_.table().present(Gfn{gfn}));
        EXPECT_EQ(this->install(gfn), FaultOutcome::denied);
    }
}

#if defined(PENUMBRA_TEST_SWITCHES)

template <class Subject>
std::uint64_t answering_after_start(Plant plant) {
    Subject subject;
    bridge::AddressSpace space;
    const bridge::Subscription subscription = space.subscribe(subject.table());
    for (std::uint64_t gfn = 0; gfn < Subject::pages; ++gfn) {
        (void)mmu::handle_fault(subject.table(), subject.source(), Gfn{gfn}, mmu::FaultAccess::write);
        (void)subject.answers(Gfn{gfn});
    }
    InvalidationEvent event;
    event.reason = bridge::Reason::discard;
    event.ranges.add(HvpRange{*subject.table().memslots().to_host(Gfn{0}), Subject::pages});
    const Planted planted(plant);
    const bridge::Invalidation bracket(space, std::move(event));
    std::uint64_t answering = 0;
    for (std::uint64_t gfn = 0; gfn < Subject::pages; ++gfn) answering += subject.answers(Gfn{gfn}) ? 1U : 0U;
    return answering;
}

TEST(InvalidationContract, NoticesWhatIsLeftOut) {
    EXPECT_EQ(answering_after_start<DeviceSubject>(Plant::skip_device_zap), DeviceSubject::pages);
    EXPECT_EQ(answering_after_start<DeviceSubject>(Plant::skip_device_flush), DeviceSubject::pages);
    EXPECT_EQ(answering_after_start<LargeDeviceSubject>(Plant::skip_device_zap), LargeDeviceSubject::pages);
    EXPECT_EQ(answering_after_start<LargeDeviceSubject>(Plant::skip_device_flush), LargeDeviceSubject::pages);
    EXPECT_EQ(answering_after_start<IoSubject>(Plant::skip_device_zap), IoSubject::pages);
    EXPECT_EQ(answering_after_start<EptSubject>(Plant::skip_ept_zap), EptSubject::pages);
}

#endif

TEST(LargeDeviceSubject, HasLargeLeavesWhenTheContractBegins) {
    LargeDeviceSubject subject;
    for (std::uint64_t gfn = 0; gfn < LargeDeviceSubject::pages; ++gfn) {
        (void)mmu::handle_fault(subject.table(), subject.source(), Gfn{gfn}, mmu::FaultAccess::write);
        ASSERT_TRUE(subject.answers(Gfn{gfn}));
    }
    EXPECT_EQ(subject.table().table().lookup(Gfn{0}).level, Level::page_2m);
    EXPECT_EQ(subject.table().table().lookup(Gfn{LargeDeviceSubject::pages - 1}).level, Level::page_2m);
}

TEST(ModelledSubject, FindsTheFlushThatWasLeftOut) {
    ModelledSubject subject;
    for (const std::uint64_t gfn : {1U, 2U}) {
        ASSERT_TRUE(mmu::handle_fault(subject.table(), subject.source(), Gfn{gfn}, mmu::FaultAccess::write));
        ASSERT_TRUE(subject.answers(Gfn{gfn}));
    }
    EXPECT_TRUE(subject.stale().empty());
    subject.table().forget_to_flush();
    bridge::AddressSpace space;
    const bridge::Subscription subscription = space.subscribe(subject.table());
    InvalidationEvent event;
    event.reason = bridge::Reason::discard;
    event.ranges.add(HvpRange{*subject.table().memslots().to_host(Gfn{2}), 1});
    {
        const bridge::Invalidation bracket(space, std::move(event));
    }
    EXPECT_EQ(subject.stale(), std::vector{Gfn{2}});
}

}  // namespace
}  // namespace penumbra::test
