#include "tests/sim/model.hpp"

#include <string>

#include "shadow-mmu/tables/device_table.hpp"
#include "shadow-mmu/tables/ept_table.hpp"
#include "shadow-mmu/tables/io_table.hpp"
#include "vmm/memory/pager_state.hpp"

namespace penumbra::test::sim {

using mmu::EntryState;
using vmm::PageIndex;
using vmm::PageState;
using vmm::PageWord;

Model::Model(std::uint32_t pages, Fail fail) : fail_(std::move(fail)), pages_(pages) {}

void Model::fail(std::string_view what, std::uint32_t page) {
    fail_(std::string(what) + " (page " + std::to_string(page) + ")");
}

Hvp Model::host_page(std::uint32_t page) const { return subject_.state->page_at(PageIndex{page}); }

Gfn Model::gfn(std::uint32_t page) const { return *subject_.ept->memslots().to_guest(host_page(page)); }

// ---- content ----

void Model::touch(std::uint32_t page, bool writes, const char* who) {
    const Hvp at = host_page(page);
    Page& known = pages_[page];
    if (!subject_.host->present(at)) fail(std::string("stale: ") + who + " reached a page that is out", page);
    if (subject_.host->stamp(at) != known.stamp) fail(std::string("content: ") + who + " read an old version", page);
    if (!writes) return;
    known.stamp = ++last_stamp_;
    subject_.host->write(at, known.stamp);
}

void Model::clear(std::uint32_t page) {
    touch(page, false, "a vCPU");
    pages_[page].stamp = 0;
    subject_.host->write(host_page(page), 0);
}

void Model::forgotten(std::uint32_t page) {
    pages_[page].in_doubt = false;
    pages_[page].stamp = 0;
}

Model::Reliance::Reliance(Model& model, std::uint32_t page, const char* who) : model_(model), page_(page), who_(who) {
    ++model_.pages_[page_].relied_on;
    model_.pages_[page_].relied_by = who;
    if (!model_.subject_.host->present(model_.host_page(page_)))
        model_.fail(std::string("stale: ") + who + " was let to a page that is out", page_);
}

Model::Reliance::~Reliance() { --model_.pages_[page_].relied_on; }

// ---- every step ----

void Model::check() {
    if (subject_.host == nullptr) return;
    for (std::uint32_t page = 0; page < pages_.size(); ++page) check_page(page);
}

void Model::check_page(std::uint32_t page) {
    const Page& known = pages_[page];
    if (known.relied_on > 0 && !subject_.host->present(host_page(page)))
        fail(std::string("stale: a page left the window in the hands of ") + known.relied_by, page);
    check_entries(page);
    if (!known.in_doubt) check_content(page);
    if (known.bracketed > 0) check_bracket(page);
}

void Model::check_entries(std::uint32_t page) {
    const Gfn at = gfn(page);
    const bool there = subject_.host->present(host_page(page));
    const EntryState ept = subject_.ept->state_of(at);
    if (ept == EntryState::present && !there) fail("stale: the EPT table calls a page present that is out", page);
    if (ept == EntryState::empty && there && !released_) fail("window: a page is in that no entry names", page);
    if (there) return;
    if (subject_.device != nullptr && subject_.device->present(at))
        fail("stale: the device's table names a page that is out", page);
    if (subject_.io != nullptr && subject_.io->present(at)) fail("stale: the I/O table names a page that is out", page);
}

void Model::check_content(std::uint32_t page) {
    const Stamp stamp = pages_[page].stamp;
    const Hvp at = host_page(page);
    const PageWord word = subject_.state->words.load(PageIndex{page});
    if (subject_.host->present(at)) {
        if (subject_.host->stamp(at) != stamp) fail("content: the window holds an old version", page);
        if (word.state() != PageState::resident) fail("word: a page is in the window and not called resident", page);
        return;
    }
    if (word.state() == PageState::zero && stamp != 0) fail("content: a page was forgotten", page);
    if (!word.in_slot()) return;
    const Hvp slot = subject_.state->limbo->page_of_slot(static_cast<std::uint32_t>(word.handle()));
    if (!subject_.host->slot_full(slot)) fail("staging: a slot was emptied that holds a page", page);
    if (stamp_at(pointer_to(slot)) != stamp) fail("content: limbo holds an old version", page);
}

void Model::check_bracket(std::uint32_t page) {
    const Gfn at = gfn(page);
    if (subject_.ept->present(at) || subject_.host->present(host_page(page)))
        fail("bracket: a page came into an open invalidation", page);
    if (subject_.device != nullptr && subject_.device->present(at))
        fail("bracket: a device's entry came into an open invalidation", page);
    if (subject_.io != nullptr && subject_.io->present(at))
        fail("bracket: an I/O entry came into an open invalidation", page);
    if (subject_.tlb != nullptr && !engine_inside_ && subject_.tlb->lookup(at))
        fail("bracket: the device's TLB kept a translation", page);
}

// ---- brackets ----

template <class Fn>
void Model::each_page(const bridge::InvalidationEvent& event, Fn&& fn) {
    std::size_t index = 0;
    for (const HvpRange& range : event.ranges.ranges()) {
        for (Hvp at = range.first(); at < range.end(); ++at, ++index) {
            if (!subject_.state->window.contains(at)) continue;
            const bool kept = event.staging != nullptr && event.staging->outcomes[index] == bridge::TakeOut::kept;
            if (!kept) fn(pages_[static_cast<std::uint32_t>(subject_.state->index_of(at))]);
        }
    }
}

bridge::StartResult Model::invalidate_start(const bridge::InvalidationEvent& event) {
    each_page(event, [](Page& page) { ++page.bracketed; });
    brackets_.push_back(&event);
    return bridge::StartResult::done;
}

void Model::invalidate_end(const bridge::InvalidationEvent& event) {
    each_page(event, [](Page& page) { --page.bracketed; });
    brackets_.remove(&event);
}

void Model::release() {
    if (!brackets_.empty()) fail_("release: while an invalidation was open");
}

}  // namespace penumbra::test::sim
