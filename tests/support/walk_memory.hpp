// Memory for page walks, made of the pages a test names: the rest of the address space is no RAM.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <utility>

#include "shadow-mmu/guest_walk/table_entries.hpp"

namespace penumbra::test {

/// One thread.
template <class Address>
class WalkMemory final : public mmu::TableEntries<Address> {
public:
    enum class PageKind : std::uint8_t { ram, read_only, absent };

    void page(std::uint64_t address, PageKind kind = PageKind::ram) { pages_[address >> page_shift] = kind; }
    std::uint64_t& word(std::uint64_t address) { return words_[address]; }
    /// Run before every exchange, and before every read: what another processor does at that moment.
    void before_exchange(std::function<void(Address)> act) { before_exchange_ = std::move(act); }
    void before_read(std::function<void(Address)> act) { before_read_ = std::move(act); }
    [[nodiscard]] unsigned reads() const { return reads_; }
    [[nodiscard]] unsigned exchanges() const { return exchanges_; }

    [[nodiscard]] std::expected<std::uint64_t, mmu::EntryProblem> read(Address entry) override {
        ++reads_;
        if (before_read_) before_read_(entry);
        const auto found = pages_.find(entry.value() >> page_shift);
        if (found == pages_.end()) return std::unexpected{mmu::EntryProblem::not_ram};
        if (found->second == PageKind::absent) return std::unexpected{mmu::EntryProblem::absent};
        return words_[entry.value()];
    }
    [[nodiscard]] mmu::EntryExchange compare_exchange(Address entry, std::uint64_t expected,
                                                      std::uint64_t desired) override {
        ++exchanges_;
        if (before_exchange_) before_exchange_(entry);
        const auto found = pages_.find(entry.value() >> page_shift);
        if (found == pages_.end()) return mmu::EntryExchange::not_ram;
        if (found->second == PageKind::absent) return mmu::EntryExchange::absent;
        if (found->second == PageKind::read_only) return mmu::EntryExchange::read_only;
        std::uint64_t& value = words_[entry.value()];
        if (value != expected) return mmu::EntryExchange::changed;
        value = desired;
        return mmu::EntryExchange::done;
    }

private:
    std::map<std::uint64_t, PageKind> pages_;
    std::map<std::uint64_t, std::uint64_t> words_;
    std::function<void(Address)> before_exchange_;
    std::function<void(Address)> before_read_;
    unsigned reads_ = 0;
    unsigned exchanges_ = 0;
};

}  // namespace penumbra::test
