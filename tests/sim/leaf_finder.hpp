// Finds the address of a page's entry in a table of production: what a look at the entry touches last.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/address.hpp"
#include "base/assert.hpp"
#include "base/schedule_point.hpp"
#include "shadow-mmu/fault/fault.hpp"

namespace penumbra::test::sim {

class LeafFinder final : public Scheduler {
public:
    void point(Step, const void* object) override { last_ = object; }
    bool sleep(const void*, Time) override { return true; }
    void wake(const void*, Wake) override {}
    [[nodiscard]] Time now() const override { return {}; }
    std::uint64_t start_thread(std::string, std::function<void()>) override { return 0; }
    void join_thread(std::uint64_t) override {}
    [[nodiscard]] std::uint64_t thread_number() const override { return 1; }
    [[nodiscard]] std::shared_ptr<void>& own(const void*) override { return thing_; }
    [[nodiscard]] unsigned& read_sections() override { return sections_; }
    void wait_for_readers() override {}
    [[noreturn]] void broken(std::string_view) override { std::abort(); }

    [[nodiscard]] const void* last() const { return last_; }

private:
    const void* last_ = nullptr;
    std::shared_ptr<void> thing_;
    unsigned sections_ = 0;
};

/// Links the table pages above the entry, so that no run has to.
template <class Table>
[[nodiscard]] const void* leaf_of(Table& table, Gfn gfn) {
    PENUMBRA_ASSERT(table.claim(gfn) == mmu::Claim::taken, "an empty table refused a claim");
    table.abandon(gfn);
    LeafFinder finder;
    const ScheduledBy scope(&finder);
    (void)table.state_of(gfn);
    return finder.last();
}

}  // namespace penumbra::test::sim
