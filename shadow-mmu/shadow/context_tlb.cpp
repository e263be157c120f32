#include "shadow-mmu/shadow/context_tlb.hpp"

namespace penumbra::mmu {

void DeviceContextTlb::flush(std::span<const ContextRun> runs) {
    flushes_.add();
    for (const ContextRun& run : runs) {
        if (run.pages.pages() < entries) {
            for (Gvp page = run.pages.first(); page < run.pages.end(); ++page) {
                std::uint64_t tag = tag_of(run.context, page);
                entries_[index_of(run.context, page)].tag.compare_exchange_strong(tag, 0, std::memory_order_seq_cst);
            }
            continue;
        }
        for (Entry& entry : entries_) {
            std::uint64_t tag = entry.tag.load(std::memory_order_seq_cst);
            const bool same = tag >> 52 == static_cast<std::uint64_t>(run.context) + 1;
            if (same && run.pages.contains(Gvp{tag & page_mask})) {
                entry.tag.compare_exchange_strong(tag, 0, std::memory_order_seq_cst);
            }
        }
    }
}

void DeviceContextTlb::flush_all() {
    flushes_.add();
    for (Entry& entry : entries_) entry.tag.store(0, std::memory_order_seq_cst);
}

}  // namespace penumbra::mmu
