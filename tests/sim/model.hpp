// What must be true before every step, whoever is in the middle of what.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <string>
#include <string_view>
#include <vector>

#include "notifier-bridge/subscriber.hpp"
#include "tests/sim/host_memory.hpp"
#include "tests/sim/plan.hpp"
#include "vmm/memory/page_state.hpp"

namespace penumbra::mmu {
class DeviceTable;
class DeviceTlb;
class EptTable;
class IoTable;
}  // namespace penumbra::mmu
namespace penumbra::vmm {
struct PagerState;
}

namespace penumbra::test::sim {

/// The parts of a machine that the model looks at.
struct Subject {
    HostMemory* host = nullptr;
    vmm::PagerState* state = nullptr;
    mmu::EptTable* ept = nullptr;
    mmu::DeviceTable* device = nullptr;
    mmu::DeviceTlb* tlb = nullptr;
    mmu::IoTable* io = nullptr;
};

/// Subscribed last of all: between its start and its end nobody may have an entry of the event's pages.
class Model final : public bridge::Subscriber {
public:
    using Fail = std::function<void(std::string_view)>;

    Model(std::uint32_t pages, Fail fail);
    void watch(const Subject& subject) { subject_ = subject; }
    /// Looks at nothing from now on: the subject goes away.
    void look_away() { subject_ = {}; }

    void check();
    /// When nobody is at work any more, and the reclaimer is stopped.
    void check_quiet();
    void check_released();
    /// Tables drop their entries from now on, and the window keeps its pages.
    void releasing() { released_ = true; }

    /// Content as the guest knows it.
    [[nodiscard]] Stamp expected(std::uint32_t page) const { return pages_[page].stamp; }
    /// Somebody reads, or writes, the page by right. Fails when it is not the newest content.
    void touch(std::uint32_t page, bool writes, const char* who);
    void clear(std::uint32_t page);
    /// A discard forgets the page: its content is in doubt until forgotten().
    void forgetting(std::uint32_t page) { pages_[page].in_doubt = true; }
    void forgotten(std::uint32_t page);

    /// Somebody relies on the page being in the window while this lives.
    class Reliance {
    public:
        Reliance(Model& model, std::uint32_t page, const char* who);
        ~Reliance();
        Reliance(const Reliance&) = delete;
        Reliance& operator=(const Reliance&) = delete;

    private:
        Model& model_;
        std::uint32_t page_;
        const char* who_;
    };
    /// The engine is inside its table: its TLB may hold a translation that it is about to take back.
    void engine_inside(bool inside) { engine_inside_ = inside; }

    [[nodiscard]] std::string_view name() const override { return "model"; }
    [[nodiscard]] bridge::SubscriberOrder order() const override { return bridge::SubscriberOrder::ept; }
    [[nodiscard]] bridge::StartResult invalidate_start(const bridge::InvalidationEvent& event) override;
    void invalidate_end(const bridge::InvalidationEvent& event) override;
    void release() override;

    [[nodiscard]] Hvp host_page(std::uint32_t page) const;
    [[nodiscard]] Gfn gfn(std::uint32_t page) const;
    [[nodiscard]] std::size_t open_brackets() const { return brackets_.size(); }

private:
    struct Page {
        Stamp stamp = 0;
        bool in_doubt = false;
        unsigned relied_on = 0;
        const char* relied_by = nullptr;
        unsigned bracketed = 0;  // open brackets that no entry may be in
        unsigned kept = 0;       // open brackets that left it in
    };

    void check_page(std::uint32_t page);
    void check_entries(std::uint32_t page);
    void check_content(std::uint32_t page);
    void check_bracket(std::uint32_t page);
    void check_accounts();
    void check_copy(std::uint32_t page, vmm::PageCopy copy);
    void fail(std::string_view what, std::uint32_t page);
    template <class Fn>
    void each_page(const bridge::InvalidationEvent& event, Fn&& fn);

    Fail fail_;
    Subject subject_;
    std::vector<Page> pages_;
    std::list<const bridge::InvalidationEvent*> brackets_;
    Stamp last_stamp_ = 0;
    bool engine_inside_ = false;
    bool released_ = false;
};

}  // namespace penumbra::test::sim
