// Devices on their loops against an eviction that goes as fast as it can, on the real pager and userfaultfd. Every
// device counts in a word of its own on every page: a page that was taken from under it, or came back old, shows as a
// wrong count, and a touch through a stale entry stops the process.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <future>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "tests/support/dma_loop.hpp"
#include "tests/support/dma_machine.hpp"

namespace penumbra::test {
namespace {

using mmu::FaultAccess;
using vmm::DmaClient;
using vmm::DmaGrant;
using vmm::DmaHold;
using vmm::TakeOutMode;

constexpr GfnRange memory{Gfn{0x200}, 600};  // more than one of the sequence's regions

class CountingDevice {
public:
    CountingDevice(DmaMachine& machine, std::uint64_t number, std::uint64_t seed)
        : machine_(machine), offset_(number * sizeof(std::uint16_t)), random_(seed), device_(machine.service()) {}

    /// Begins `actions` actions.
    void begin(unsigned actions) {
        left_ = actions;
        device_.loop().post([this] { act(); });
    }
    [[nodiscard]] bool wait() {
        return done_.get_future().wait_for(std::chrono::seconds{50}) == std::future_status::ready;
    }

    struct Seen {
        unsigned direct = 0;
        unsigned granted = 0;
        unsigned cancelled = 0;
        unsigned held = 0;
    };
    [[nodiscard]] const Seen& seen() const { return seen_; }
    /// Pages whose count is wrong.
    [[nodiscard]] unsigned wrong() {
        unsigned wrong = 0;
        for (std::uint64_t page = 0; page < memory.pages(); ++page) {
            std::uint16_t count = 0;
            machine_.read(address_of(memory.first() + page) + offset_, std::as_writable_bytes(std::span{&count, 1}));
            if (count == counts_[page]) continue;
            ++wrong;
            ADD_FAILURE() << "guest page " << (memory.first() + page).value() << " counts " << count << " instead of "
                          << counts_[page];
        }
        return wrong;
    }

private:
    static constexpr std::size_t most_wishes = 12;
    static constexpr std::size_t most_kept = 4;
    struct Kept {
        std::uint64_t page;
        DmaHold hold;
    };

    [[nodiscard]] Gpa place(std::uint64_t page) const { return address_of(memory.first() + page) + offset_; }

    void act() {
        DmaClient& client = device_.client();
        if (left_ == 0 && client.waiting() == 0) {
            while (!kept_.empty()) let_go(0);
            return done_.set_value();
        }
        // As a disk does it: what is held is let go whatever the device still waits for.
        if (kept_.size() > random_() % most_kept) let_go(random_() % kept_.size());
        if (left_ > 0 && client.waiting() < most_wishes) {
            --left_;
            step(client, random_() % memory.pages());
        }
        device_.loop().post([this] { act(); });
    }
    void step(DmaClient& client, std::uint64_t page) {
        if (random_() % 500 == 0) {
            seen_.cancelled += static_cast<unsigned>(client.waiting());
            client.cancel();
        }
        if (count(client, page)) {
            ++seen_.direct;
            return;
        }
        client.want(memory.first() + page, FaultAccess::write, [this, page](DmaGrant grant) {
            ASSERT_EQ(grant, DmaGrant::present);
            ++seen_.granted;
            ASSERT_TRUE(count(device_.client(), page)) << "a granted page was not there";
            auto hold = device_.client().hold(place(page), sizeof(std::uint16_t));
            ASSERT_TRUE(hold);
            if (random_() % 2 == 0) kept_.push_back({page, std::move(*hold)});
        });
    }
    bool count(DmaClient& client, std::uint64_t page) {
        const auto now = client.load16(place(page));
        if (!now) return false;
        EXPECT_EQ(*now, counts_[page]) << "guest page " << (memory.first() + page).value();
        if (!client.store16(place(page), static_cast<std::uint16_t>(*now + 1))) return false;
        ++counts_[page];
        return true;
    }
    /// As a disk does it: writes long after the page was looked up.
    void let_go(std::size_t i) {
        ++seen_.held;
        auto* word = reinterpret_cast<std::uint16_t*>(kept_[i].hold.bytes().data());
        std::atomic_ref(*word).fetch_add(1);
        ++counts_[kept_[i].page];
        kept_.erase(kept_.begin() + static_cast<std::ptrdiff_t>(i));
    }

    DmaMachine& machine_;
    const std::uint64_t offset_;
    std::mt19937_64 random_;
    unsigned left_ = 0;
    Seen seen_;
    std::array<std::uint16_t, memory.pages()> counts_{};
    std::vector<Kept> kept_;
    std::promise<void> done_;
    DmaLoop device_;
};

class DmaRace : public testing::TestWithParam<std::pair<TakeOutMode, std::uint64_t>> {};

TEST_P(DmaRace, NothingIsLostAndNothingIsStale) {
    DmaMachineOptions options;
    options.take_out = GetParam().first;
    DmaMachine machine(options);
    std::vector<std::unique_ptr<CountingDevice>> devices;
    for (std::uint64_t i = 0; i < 3; ++i) {
        devices.push_back(std::make_unique<CountingDevice>(machine, i, GetParam().second * 10 + i));
    }
    machine.start_evictor(memory, GetParam().second);
    for (auto& device : devices) device->begin(1500);
    for (auto& device : devices) ASSERT_TRUE(device->wait()) << "no progress";
    machine.stop_evictor();
    CountingDevice::Seen seen;
    for (auto& device : devices) {
        EXPECT_EQ(device->wrong(), 0U);
        seen.direct += device->seen().direct;
        seen.granted += device->seen().granted;
        seen.held += device->seen().held;
    }
    EXPECT_GT(seen.direct, 0U);
    EXPECT_GT(seen.granted, 100U);
    EXPECT_GT(seen.held, 50U);
    EXPECT_GT(machine.service().stats().brought_in, 100U);
    EXPECT_GT(machine.service().stats().io_waits, 0U) << "no eviction met a device";
    EXPECT_EQ(machine.errors(), 0U);
    EXPECT_EQ(machine.table().counters().stale_faults.get(), 0U);
    EXPECT_EQ(machine.memory().pages_under_long_io(), 0U);
}
INSTANTIATE_TEST_SUITE_P(Seeds, DmaRace,
                         testing::Values(std::pair{TakeOutMode::move, 1}, std::pair{TakeOutMode::copy, 2}));

}  // namespace
}  // namespace penumbra::test
