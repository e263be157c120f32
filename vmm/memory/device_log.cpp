// The dirty log of all that the accelerator writes: its own table keeps it, the table of process addresses joins in.
#include "base/planted.hpp"
#include "vmm/memory/memory_system.hpp"

namespace penumbra::vmm {

void MemorySystem::begin_device_log() {
    device_table_->begin_dirty_log();
    // What is installed from here on is marked, and what was before is gone.
    shadow_table_->log_writes(&device_table_->dirty_bitmap());
    shadow_table_->drop_everything();
}

mmu::DeviceTable::DirtyPages MemorySystem::take_device_log(std::size_t most_ranges) {
    mmu::DeviceTable::DirtyPages taken = device_table_->take_dirty_log(most_ranges);
    // The marks are taken: the leaves that they stood for must not permit another write, nor have one in flight.
    if (taken.pages > 0 && !planted(Plant::clean_skips_flush)) shadow_table_->drop_everything();
    return taken;
}

void MemorySystem::end_device_log() {
    shadow_table_->log_writes(nullptr);
    device_table_->end_dirty_log();
}

}  // namespace penumbra::vmm
