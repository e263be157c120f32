// What must be true when everybody is done.
#include <array>

#include "shadow-mmu/tables/device_table.hpp"
#include "shadow-mmu/tables/ept_table.hpp"
#include "shadow-mmu/tables/io_table.hpp"
#include "tests/sim/model.hpp"
#include "vmm/memory/pager_state.hpp"

namespace penumbra::test::sim {

using mmu::EntryState;
using vmm::CopyTier;
using vmm::PageIndex;
using vmm::PageState;

namespace {

template <class Table>
std::string unsettled(Table& table, std::uint32_t pages, const Model& model) {
    if (table.sequence().active() != 0) return "an invalidation is counted as open for ever";
    std::uint64_t present = 0;
    for (std::uint32_t page = 0; page < pages; ++page) {
        const EntryState state = table.state_of(model.gfn(page));
        if (state == EntryState::present) {
            ++present;
        } else if (state != EntryState::empty) {
            return "an entry was left busy or frozen";
        }
    }
    if (table.counters().mapped.get() - table.counters().zapped.get() != present) return "its counters are wrong";
    return {};
}

}  // namespace

void Model::check_quiet() {
    const auto pages = static_cast<std::uint32_t>(pages_.size());
    const auto complain = [this](const char* table, const std::string& what) {
        if (!what.empty()) fail_(std::string("quiet: ") + table + ": " + what);
    };
    complain("ept", unsettled(*subject_.ept, pages, *this));
    if (subject_.device != nullptr) complain("device", unsettled(*subject_.device, pages, *this));
    if (subject_.io != nullptr) complain("io", unsettled(*subject_.io, pages, *this));
    if (!brackets_.empty()) fail_("quiet: a bracket is still open");
    check_accounts();
}

/// A copy beside its page may be an older version, but it is there.
void Model::check_copy(std::uint32_t page, vmm::PageCopy copy) {
    if (copy.tier != CopyTier::compressed) return;
    alignas(page_bytes) std::array<std::byte, page_bytes> bytes;
    if (!subject_.state->compressed->load(copy.handle, {subject_.state->vm_id, page}, bytes))
        fail("quiet: the compressed tier lacks a page's copy", page);
}

void Model::check_accounts() {
    std::uint64_t resident = 0;
    std::uint64_t compressed = 0;
    std::uint64_t stored = 0;
    std::uint64_t kept = 0;
    const auto count = [&](vmm::PageCopy copy) {
        if (copy.tier == CopyTier::compressed) ++compressed;
        if (copy.tier == CopyTier::file) ++stored;
    };
    for (std::uint32_t page = 0; page < pages_.size(); ++page) {
        const vmm::PageWord word = subject_.state->words.load(PageIndex{page});
        const PageState state = word.state();
        if (state == PageState::resident) ++resident;
        count(word.only_copy());
        count(word.copy());
        check_copy(page, word.only_copy());
        check_copy(page, word.copy());
        if (word.copy().tier == CopyTier::compressed) ++kept;
        if ((state == PageState::resident) != subject_.host->present(host_page(page)))
            fail("quiet: a page is called resident and is out, or the reverse", page);
    }
    std::uint64_t occupied = 0;
    for (std::uint32_t slot = 0; slot < subject_.state->limbo->slots(); ++slot) {
        const vmm::PageCopy copy = subject_.state->limbo->copy(slot);
        if (subject_.state->limbo->occupant(slot)) {
            ++occupied;
        } else if (copy.exists()) {
            fail_("quiet: an empty slot has a copy");
        }
        count(copy);
        if (copy.tier == CopyTier::compressed) ++kept;
    }
    if (subject_.state->copies.kept() != kept) fail_("quiet: copies beside their pages are counted wrong");
    if (subject_.state->budget.pages() != resident + occupied) fail_("quiet: the budget counts wrong");
    if (subject_.state->compressed && subject_.state->compressed->pages() != compressed)
        fail_("quiet: the compressed tier keeps what nobody owns");
    if (subject_.state->slow.file() != nullptr && subject_.state->slow.file()->pages() != stored)
        fail_("quiet: the file tier keeps what nobody owns");
}

void Model::check_released() {
    for (std::uint32_t page = 0; page < pages_.size(); ++page) {
        const Gfn at = gfn(page);
        const bool left = subject_.ept->state_of(at) != EntryState::empty ||
                          (subject_.device != nullptr && subject_.device->state_of(at) != EntryState::empty) ||
                          (subject_.io != nullptr && subject_.io->state_of(at) != EntryState::empty);
        if (left) fail("release: an entry is left", page);
    }
}

}  // namespace penumbra::test::sim
