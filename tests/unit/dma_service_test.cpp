// How devices get pages that are out: one fault per page, its grant held, nobody delayed by another's slow page.
#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <vector>

#include "tests/support/dma_loop.hpp"
#include "tests/support/fake_dma_machine.hpp"

namespace penumbra::test {
namespace {

using namespace std::chrono_literals;
using mmu::FaultAccess;
using vmm::DmaClient;
using vmm::DmaGrant;
using Mood = FakePages::Mood;

constexpr Gfn low = FakeDmaMachine::low_first;
constexpr Gfn high = FakeDmaMachine::high_first;

/// Counts what a device was granted.
struct Grants {
    std::atomic<unsigned> present{0};
    std::atomic<unsigned> not_ram{0};

    [[nodiscard]] DmaClient::Then counter() {
        return [this](DmaGrant grant) { (grant == DmaGrant::present ? present : not_ram).fetch_add(1); };
    }
};

void want(DmaLoop& device, Gfn gfn, Grants& grants) {
    device.call([&](DmaClient& client) { client.want(gfn, FaultAccess::write, grants.counter()); });
}

TEST(DmaService, BringsAPageInAndTellsTheLoop) {
    FakeDmaMachine machine;
    DmaLoop device(machine.service());
    const DmaGrant grant = device.with_page(low, [&](DmaClient& client, DmaGrant what) {
        EXPECT_TRUE(device.loop().on_thread());
        EXPECT_TRUE(machine.table().in_use(machine.host(low)));
        EXPECT_EQ(client.waiting(), 0U);
        return what;
    });
    EXPECT_EQ(grant, DmaGrant::present);
    EXPECT_TRUE(machine.window().present(machine.host(low)));
    EXPECT_TRUE(becomes_true([&] { return !machine.table().in_use(machine.host(low)); }));
    EXPECT_EQ(machine.service().pending(), 0U);
    const auto stats = machine.service().stats();
    EXPECT_EQ(stats.wishes, 1U);
    EXPECT_EQ(stats.brought_in, 1U);
    EXPECT_EQ(stats.already_present, 0U);
}

TEST(DmaService, AnswersLaterAlsoWhatItKnowsAtOnce) {
    FakeDmaMachine machine;
    DmaLoop device(machine.service());
    Grants grants;
    (void)device.with_page(low, [](DmaClient&, DmaGrant) { return 0; });
    device.call([&](DmaClient& client) {
        client.want(low, FaultAccess::read, grants.counter());
        client.want(FakeDmaMachine::hole, FaultAccess::read, grants.counter());
        EXPECT_EQ(grants.present + grants.not_ram, 0U) << "a callback ran inside want()";
        EXPECT_EQ(client.waiting(), 2U);
    });
    EXPECT_TRUE(becomes_true([&] { return grants.present == 1 && grants.not_ram == 1; }));
    EXPECT_EQ(machine.service().stats().already_present, 1U);
}

TEST(DmaService, SeveralWishesForAPageAreOneFault) {
    FakeDmaMachine machine;
    DmaLoop one(machine.service());
    DmaLoop two(machine.service());
    Grants grants;
    machine.pager().set_mood(Mood::hold);
    want(one, low, grants);
    want(two, low, grants);
    want(one, low, grants);
    ASSERT_TRUE(becomes_true([&] { return machine.pager().waiting() == 1; }));
    EXPECT_EQ(machine.service().pending(), 1U);
    machine.pager().set_mood(Mood::serve);
    EXPECT_TRUE(becomes_true([&] { return grants.present == 3; }));
    EXPECT_EQ(machine.pager().resolves(), 1U);
    EXPECT_EQ(machine.service().stats().wishes, 3U);
}

TEST(DmaService, AGrantedPageIsThereWhileItsEvictionWaits) {
    FakeDmaMachine machine;
    DmaLoop device(machine.service());
    std::optional<Thread> evictor;
    std::optional<vmm::DmaHold> kept;
    (void)device.with_page(low, [&](DmaClient& client, DmaGrant) {
        evictor.emplace("evictor", ThreadRole::vmm, [&] { EXPECT_EQ(machine.evict({low, 1}), 1U); });
        EXPECT_TRUE(becomes_true([&] { return !machine.table().present(low); }));
        EXPECT_TRUE(client.store16(address_of(low) + 6, 77));
        EXPECT_EQ(client.load16(address_of(low) + 6), 77);
        kept = std::move(*client.hold(address_of(low) + 6, 2));
        return 0;
    });
    EXPECT_FALSE(device.call([&](DmaClient& client) { return client.load16(address_of(low)).has_value(); }))
        << "the callback is over";
    EXPECT_EQ(*reinterpret_cast<std::uint16_t*>(kept->bytes().data()), 77);
    kept.reset();
    evictor->join();
    std::uint16_t left = 0;
    machine.read(address_of(low) + 6, std::as_writable_bytes(std::span{&left, 1}));
    EXPECT_EQ(left, 77);
}

TEST(DmaService, OneSlowPageDelaysNobody) {
    FakeDmaMachine machine;
    DmaLoop device(machine.service());
    Grants slow;
    Grants quick;
    machine.slow().hold(machine.host(low + 5));
    want(device, low + 5, slow);
    ASSERT_TRUE(becomes_true([&] { return machine.slow().waiting() == 1; }));
    for (std::uint64_t i = 0; i < 5; ++i) want(device, low + i, quick);
    EXPECT_TRUE(becomes_true([&] { return quick.present == 5; }));
    EXPECT_EQ(slow.present, 0U);
    machine.slow().let_go();
    EXPECT_TRUE(becomes_true([&] { return slow.present == 1; }));
}

TEST(DmaService, QuickPagesDoNotQueueBehindManySlowOnes) {
    FakeDmaMachine machine;
    DmaLoop device(machine.service());
    Grants slow;
    Grants quick;
    constexpr unsigned many = 20;
    for (std::uint64_t i = 0; i < many; ++i) machine.slow().hold(machine.host(low + i));
    for (std::uint64_t i = 0; i < many; ++i) want(device, low + i, slow);
    for (std::uint64_t i = 0; i < many; ++i) want(device, high + i, quick);
    EXPECT_TRUE(becomes_true([&] { return quick.present == many; }));
    EXPECT_EQ(slow.present, 0U);
    EXPECT_EQ(machine.service().pending(), many);
    machine.slow().let_go();
    EXPECT_TRUE(becomes_true([&] { return slow.present == many; }));
}

TEST(DmaService, APageThatBecomesSlowInTheQueueLeavesTheQuickWorkerFree) {
    FakeDmaMachine machine;
    DmaLoop device(machine.service());
    Grants grants;
    Grants quick;
    machine.pager().set_mood(Mood::hold);  // every worker takes one and waits
    for (std::uint64_t i = 0; i < 4; ++i) want(device, low + i, grants);
    ASSERT_TRUE(becomes_true([&] { return machine.pager().waiting() == 4; }));
    for (std::uint64_t i = 4; i < 12; ++i) want(device, low + i, grants);
    for (std::uint64_t i = 4; i < 12; ++i) machine.slow().hold(machine.host(low + i));
    machine.pager().set_mood(Mood::serve);
    want(device, high, quick);
    EXPECT_TRUE(becomes_true([&] { return quick.present == 1; }));
    machine.slow().let_go();
    EXPECT_TRUE(becomes_true([&] { return grants.present == 12; }));
}

TEST(DmaService, CancelForgetsEverything) {
    FakeDmaMachine machine;
    DmaLoop device(machine.service());
    DmaLoop other(machine.service());
    Grants mine;
    Grants others;
    machine.pager().set_mood(Mood::hold);
    for (std::uint64_t i = 0; i < 8; ++i) want(device, low + i, mine);
    want(other, low + 7, others);
    ASSERT_TRUE(becomes_true([&] { return machine.pager().waiting() == 4; }));
    device.call([](DmaClient& client) {
        client.cancel();
        EXPECT_EQ(client.waiting(), 0U);
    });
    EXPECT_LE(machine.service().pending(), 5U) << "4 in hand, and the other's";
    machine.pager().set_mood(Mood::serve);
    EXPECT_TRUE(becomes_true([&] { return machine.service().pending() == 0 && others.present == 1; }));
    device.call([](DmaClient&) {});
    EXPECT_EQ(mine.present, 0U);
    for (std::uint64_t i = 0; i < 8; ++i) {
        EXPECT_TRUE(becomes_true([&] { return !machine.table().in_use(machine.host(low + i)); })) << i;
    }
    EXPECT_EQ(device.with_page(low + 20, [](DmaClient&, DmaGrant grant) { return grant; }), DmaGrant::present);
}

TEST(DmaService, CancelLetsGoOfWhatTheLoopHasNotSeen) {
    FakeDmaMachine machine;
    DmaLoop device(machine.service());
    Grants grants;
    device.call([&](DmaClient& client) {
        for (std::uint64_t i = 0; i < 4; ++i) client.want(low + i, FaultAccess::write, grants.counter());
        EXPECT_TRUE(becomes_true([&] { return machine.service().pending() == 0; }));
        client.cancel();
        // A worker may have the last one in its hand still; it comes and is let go by the loop.
    });
    for (std::uint64_t i = 0; i < 4; ++i) {
        EXPECT_TRUE(becomes_true([&] { return !machine.table().in_use(machine.host(low + i)); })) << i;
    }
    EXPECT_EQ(grants.present, 0U);
}

TEST(DmaService, ACallbackMayCancelAndWantAgain) {
    FakeDmaMachine machine;
    DmaLoop device(machine.service());
    Grants grants;
    std::atomic<unsigned> rounds{0};
    device.call([&](DmaClient& client) {
        for (std::uint64_t i = 0; i < 3; ++i) {
            client.want(low + i, FaultAccess::write, [&](DmaGrant) {
                rounds.fetch_add(1);
                client.cancel();
                client.want(low + 9, FaultAccess::write, grants.counter());
            });
        }
    });
    EXPECT_TRUE(becomes_true([&] { return grants.present == 1; }));
    EXPECT_EQ(rounds, 1U);
}

TEST(DmaService, AnErrorIsToldOnceAndItsWishesAreKept) {
    FakeDmaMachine machine;
    DmaLoop device(machine.service());
    Grants grants;
    machine.pager().set_mood(Mood::fail);
    for (std::uint64_t i = 0; i < 6; ++i) want(device, low + i, grants);
    ASSERT_TRUE(becomes_true([&] { return machine.errors() == 1; }));
    want(device, high, grants);
    EXPECT_EQ(machine.service().pending(), 7U);
    machine.service().resume();
    ASSERT_TRUE(becomes_true([&] { return machine.errors() == 2; })) << "it fails again";
    EXPECT_EQ(grants.present, 0U);
    machine.pager().set_mood(Mood::serve);
    machine.service().resume();
    EXPECT_TRUE(becomes_true([&] { return grants.present == 7; }));
    EXPECT_EQ(machine.errors(), 2U);
}

TEST(DmaService, CancelAlsoForgetsWishesOfAFailure) {
    FakeDmaMachine machine;
    DmaLoop device(machine.service());
    Grants grants;
    machine.pager().set_mood(Mood::fail);
    want(device, low, grants);
    ASSERT_TRUE(becomes_true([&] { return machine.errors() == 1; }));
    device.call([](DmaClient& client) { client.cancel(); });
    EXPECT_EQ(machine.service().pending(), 0U);
}

TEST(DmaService, StopLetsGoOfGrantsThatNobodyLooksAt) {
    FakeDmaMachine machine;
    DmaLoop device(machine.service(), DmaLoop::Start::later);
    Grants grants;
    for (std::uint64_t i = 0; i < 4; ++i) device.client().want(low + i, FaultAccess::write, grants.counter());
    ASSERT_TRUE(becomes_true([&] { return machine.service().pending() == 0; }));
    EXPECT_TRUE(becomes_true([&] { return machine.table().in_use(machine.host(low)); }));
    machine.service().stop();
    for (std::uint64_t i = 0; i < 4; ++i) EXPECT_FALSE(machine.table().in_use(machine.host(low + i))) << i;
    device.client().want(low, FaultAccess::write, grants.counter());
    device.loop().start();
    device.call([](DmaClient&) {});
    EXPECT_EQ(grants.present, 0U);
    machine.service().stop();
}

TEST(DmaService, AClientLetsGoAtItsEnd) {
    FakeDmaMachine machine;
    Grants grants;
    {
        DmaLoop device(machine.service(), DmaLoop::Start::later);
        device.client().want(low, FaultAccess::write, grants.counter());
        machine.slow().hold(machine.host(high));
        device.client().want(high, FaultAccess::write, grants.counter());
        ASSERT_TRUE(becomes_true([&] { return machine.table().in_use(machine.host(low)); }));
    }
    EXPECT_FALSE(machine.table().in_use(machine.host(low)));
    machine.slow().let_go();
    EXPECT_TRUE(becomes_true([&] { return machine.service().pending() == 0; }));
    EXPECT_TRUE(becomes_true([&] { return !machine.table().in_use(machine.host(high)); }));
    EXPECT_EQ(grants.present, 0U);
}

}  // namespace
}  // namespace penumbra::test
