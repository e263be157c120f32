// Chains of random shape under a storm of evictions: each comes back exactly once, with its bytes.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "base/thread.hpp"
#include "tests/support/echo_machine.hpp"

namespace penumbra::test {
namespace {

namespace feature = vmm::virtio_feature;

constexpr Gpa buffers = EchoMachine::buffers;
constexpr Gpa rings = EchoMachine::rings;

/// Chains of random shape over rings, tables and buffers whose pages are taken out all the time.
class VirtqueueEviction : public testing::TestWithParam<std::uint64_t> {
protected:
    struct Sent {
        std::vector<std::byte> bytes;
        Gpa answer;
    };
    static constexpr unsigned places = 12;

    std::uint16_t send(unsigned place);
    void check(const DriverQueue::Done& done);

    std::mt19937_64 random_{GetParam()};
    EchoMachine machine_{GetParam() % 2 == 0 ? Over::mmio : Over::pci,
                         {.delivery = GetParam() % 3 == 0 ? vmm::Delivery::in_order : vmm::Delivery::as_ready}};
    VirtioDriver& driver_ = machine_.driver();
    std::map<std::uint16_t, Sent> sent_;
    std::map<std::uint16_t, unsigned> place_of_;
};

std::uint16_t VirtqueueEviction::send(unsigned place) {
    // Each place has five pages: two of readable bytes, two of answer, one for a table.
    const Gpa base = buffers + place * 5 * page_bytes;
    Sent sent{random_bytes(1 + random_() % (2 * page_bytes - 1), random_()), base + 2 * page_bytes};
    machine_.memory().write(base, sent.bytes);
    std::vector<Buffer> chain;
    const auto cut = [&](Gpa at, std::uint64_t bytes, Buffer::Use use) {
        while (bytes > 0) {
            const auto piece = static_cast<std::uint32_t>(chain.size() > 8 ? bytes : 1 + random_() % bytes);
            chain.push_back({at, piece, use});
            at += piece;
            bytes -= piece;
        }
    };
    cut(base, sent.bytes.size(), Buffer::Use::device_reads);
    cut(sent.answer, 2 * page_bytes, Buffer::Use::device_writes);
    const Gpa table = base + 4 * page_bytes + random_() % 1024;
    auto head = random_() % 2 == 0 ? driver_.queue(0).add(chain) : std::nullopt;
    if (!head) head = driver_.queue(0).add_indirect(chain, table);
    sent_[*head] = std::move(sent);
    place_of_[*head] = place;
    return *head;
}

void VirtqueueEviction::check(const DriverQueue::Done& done) {
    const auto found = sent_.find(done.head);
    ASSERT_NE(found, sent_.end()) << "a chain came back that was not sent, or twice";
    EXPECT_EQ(done.written, found->second.bytes.size());
    EXPECT_EQ(bytes_of(machine_.memory(), found->second.answer, found->second.bytes.size()), found->second.bytes);
    sent_.erase(found);
}

TEST_P(VirtqueueEviction, LosesAndDoublesNothing) {
    ASSERT_TRUE(driver_.start(rings, 256, random_() % 2 == 0 ? VirtioDriver::all_features : feature::indirect_desc));
    std::atomic<bool> evicting{true};
    Thread evictor("evictor", ThreadRole::vmm, [&] {
        while (evicting) machine_.machine().evict_all();
    });
    constexpr unsigned count = 150;
    unsigned sent = 0;
    unsigned back = 0;
    std::vector<unsigned> free;
    for (unsigned i = 0; i < places; ++i) free.push_back(i);
    while (back < count && !HasFailure()) {
        while (sent < count && !free.empty() && random_() % 3 != 0) {
            (void)send(free.back());
            free.pop_back();
            ++sent;
        }
        driver_.kick(0);
        if (sent == back) continue;
        const auto done = driver_.wait(0);
        EXPECT_TRUE(done) << "a chain was lost";
        if (!done) break;
        free.push_back(place_of_[done->head]);
        check(*done);
        ++back;
    }
    evicting = false;
    evictor.join();
    EXPECT_EQ(sent_.size(), 0U);
    EXPECT_FALSE(driver_.queue(0).take().has_value());
    EXPECT_EQ(machine_.machine().window().violations(), 0U);
}
INSTANTIATE_TEST_SUITE_P(Seeds, VirtqueueEviction, testing::Range(std::uint64_t{1}, std::uint64_t{7}));

}  // namespace
}  // namespace penumbra::test
