// What a remote tier remembers of its pages, and how a page looks on the store.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "tests/support/library_pages.hpp"
#include "vmm/memory/tier/page_check.hpp"
#include "vmm/memory/tier/page_codec.hpp"
#include "vmm/memory/tier/remote/page_value.hpp"
#include "vmm/memory/tier/remote/slot_book.hpp"

namespace penumbra::vmm {
namespace {

using test::Page;

PageForm form_of_page(std::uint32_t page) { return {page * 77ULL, page, page % 1000, 4096, Encoding::raw}; }

TEST(RemoteSlotBook, RemembersWhatItWasTold) {
    const auto book = SlotBook::create(100);
    ASSERT_TRUE(book);
    const std::array forms{
        PageForm{~0ULL, (1U << page_index_bits) - 1, (1U << page_version_bits) - 1, 4096, Encoding::raw},
        PageForm{1, 0, 0, 1, Encoding::filled}};
    std::array<SlotKey, 2> keys;
    ASSERT_EQ((*book)->take(forms, keys), 2U);
    const std::array handles{StoreHandle{keys[0].slot}, StoreHandle{keys[1].slot}, StoreHandle{99}, StoreHandle{~0ULL}};
    std::array<std::optional<SlotBook::Found>, 4> found;
    (*book)->look_up(handles, found);
    EXPECT_FALSE(found[0] || found[1]) << "not before they are stored";
    (*book)->stored(keys[0].slot);
    (*book)->stored(keys[1].slot);
    (*book)->look_up(handles, found);
    for (std::size_t i = 0; i < 2; ++i) {
        ASSERT_TRUE(found[i]);
        EXPECT_EQ(found[i]->form.check, forms[i].check);
        EXPECT_EQ(found[i]->form.page, forms[i].page);
        EXPECT_EQ(found[i]->form.version, forms[i].version);
        EXPECT_EQ(found[i]->form.length, forms[i].length);
        EXPECT_EQ(found[i]->form.encoding, forms[i].encoding);
        EXPECT_EQ(found[i]->serial, keys[i].serial);
    }
    EXPECT_FALSE(found[2] || found[3]);
    EXPECT_EQ((*book)->bookkeeping_bytes(), 48U);
}

/// A book and a plain model of it, which do the same at random.
class ModelledBook {
public:
    static constexpr std::uint64_t capacity = 200;
    explicit ModelledBook(SlotBook& book) : book_(book) {}

    void take() {
        std::array<PageForm, 8> forms;
        for (PageForm& form : forms) form = form_of_page(static_cast<std::uint32_t>(random() % 5000));
        std::array<SlotKey, 8> keys;
        const std::size_t taken = book_.take(forms, keys);
        EXPECT_EQ(taken, std::min<std::size_t>(8, capacity - stored.size() - leaving.size() - writing_.size()));
        for (std::size_t i = 0; i < taken; ++i) {
            EXPECT_TRUE(writing_.emplace(keys[i].slot, keys[i]).second);
            EXPECT_TRUE(serials_.insert(keys[i].serial).second);
            EXPECT_FALSE(stored.contains(keys[i].slot) || leaving.contains(keys[i].slot));
            EXPECT_EQ(keys[i].page, forms[i].page);
        }
    }
    void settle() {
        if (writing_.empty()) return;
        const SlotKey key = pick(writing_);
        if (random() % 8 != 0) {
            book_.stored(key.slot);
            stored.emplace(key.slot, key);
        } else if (random() % 2 == 0) {
            book_.give_back(key.slot);
        } else {
            book_.doubtful(key.slot);
            leaving.emplace(key.slot, key);
        }
    }
    void leave() {
        if (stored.empty()) return;
        const SlotKey key = pick(stored);
        EXPECT_TRUE(book_.still_stored(key));
        const StoreHandle handle{key.slot};
        (void)book_.leave({&handle, 1});
        leaving.emplace(key.slot, key);
        EXPECT_FALSE(book_.still_stored(key));
    }
    void take_off() {
        std::array<SlotKey, 5> keys;
        const std::size_t claimed = book_.claim_leaving(keys);
        EXPECT_EQ(claimed, std::min<std::size_t>(5, leaving.size()));
        std::vector<std::uint64_t> gone, kept;
        for (std::size_t i = 0; i < claimed; ++i) {
            ASSERT_TRUE(leaving.contains(keys[i].slot));
            EXPECT_EQ(leaving[keys[i].slot].serial, keys[i].serial);
            const bool keep = random() % 4 == 0;
            (keep ? kept : gone).push_back(keys[i].slot);
            if (!keep) leaving.erase(keys[i].slot);
        }
        book_.end(gone);
        book_.unclaim(kept);
    }
    [[nodiscard]] std::uint32_t random() { return static_cast<std::uint32_t>(random_()); }

    std::map<std::uint64_t, SlotKey> stored, leaving;

private:
    SlotKey pick(std::map<std::uint64_t, SlotKey>& from) {
        auto at = from.begin();
        std::advance(at, static_cast<std::ptrdiff_t>(random() % from.size()));
        const SlotKey key = at->second;
        from.erase(at);
        return key;
    }

    SlotBook& book_;
    std::mt19937 random_{3};
    std::map<std::uint64_t, SlotKey> writing_;
    std::set<std::uint64_t> serials_;
};

TEST(RemoteSlotBook, SlotsHaveOneUserSerialsOneUseAndNothingGetsLost) {
    const auto made = SlotBook::create(ModelledBook::capacity);
    ASSERT_TRUE(made);
    SlotBook& book = **made;
    ModelledBook model{book};
    constexpr std::array steps{&ModelledBook::take,    &ModelledBook::settle, &ModelledBook::settle,
                               &ModelledBook::leave,   &ModelledBook::leave,  &ModelledBook::take_off,
                               &ModelledBook::take_off};
    for (unsigned turn = 0; turn < 20'000; ++turn) {
        (model.*steps[model.random() % steps.size()])();
        ASSERT_EQ(book.pages(), model.stored.size());
        ASSERT_EQ(book.leaving(), model.leaving.size());
    }
    std::set<std::uint64_t> swept;
    std::array<SlotKey, 7> keys;
    for (std::uint64_t cursor = 0; cursor < book.opened();) {
        const std::size_t found = book.next_stored(cursor, keys);
        for (std::size_t i = 0; i < found; ++i) swept.insert(keys[i].slot);
    }
    EXPECT_EQ(swept.size(), model.stored.size());
    book.leave_all();
    EXPECT_EQ(book.leaving(), model.stored.size() + model.leaving.size());
    EXPECT_EQ(book.pages(), 0U);
}

TEST(RemoteSlotBookDeathTest, ADropOfWhatIsNotStoredIsABrokenPromise) {
    const auto book = SlotBook::create(100);
    const StoreHandle handle{5};
    EXPECT_DEATH((void)(*book)->leave({&handle, 1}), "not stored");
}

TEST(RemotePageValue, ComesBackAndEveryFlippedBitIsFound) {
    constexpr std::uint64_t vm = 9;
    const Page page = test::library_pages(64)[20];
    Page blob{};
    PageCompressor compressor;
    const std::size_t length = compressor.compress(Codec::lz4, ConstPageBytes{page}, blob);
    ASSERT_GT(length, 0U);
    const PageForm form{page_check({vm, 5, 6}, ConstPageBytes{page}), 5, 6, static_cast<std::uint16_t>(length),
                        Encoding::lz4};
    std::array<std::byte, largest_value> value{};
    const std::size_t bytes = write_value(form, blob.data(), value);
    ASSERT_EQ(bytes, value_header_bytes + length);
    const std::span<const std::byte> good = std::span{value}.first(bytes);
    Page out{};
    ASSERT_EQ(read_value(good, vm, form, out), ValueFault::none);
    EXPECT_EQ(out, page);
    for (std::size_t at = 0; at < bytes; ++at) {
        for (unsigned bit = 0; bit < 8; bit += at < value_header_bytes ? 1 : 5) {
            value[at] ^= static_cast<std::byte>(1U << bit);
            // LZ4 reaches some pages from more than one blob: then they are the same page.
            if (read_value(good, vm, form, out) == ValueFault::none) {
                EXPECT_GE(at, value_header_bytes) << bit;
                EXPECT_EQ(out, page);
            }
            value[at] ^= static_cast<std::byte>(1U << bit);
        }
        EXPECT_NE(read_value(good.first(at), vm, form, out), ValueFault::none) << at;
    }
    PageForm other = form;
    other.page = 7;
    EXPECT_EQ(read_value(good, vm, other, out), ValueFault::other_page);
    other = form;
    other.version = 7;
    EXPECT_EQ(read_value(good, vm, other, out), ValueFault::other_time);
    EXPECT_EQ(read_value(good, vm + 1, form, out), ValueFault::damaged);
    value[0] = std::byte{'X'};
    EXPECT_EQ(read_value(good, vm, form, out), ValueFault::foreign);
}

}  // namespace
}  // namespace penumbra::vmm
