#include "vmm/devices/accelerator/physical_pages.hpp"

namespace penumbra::vmm {

EngineStep PhysicalPages::bring_in(PageRequest request) {
    control_.leave();
    const PageAnswer answer = requests_.fetch(request);
    if (answer == PageAnswer::denied) {
        control_.halt();
        return EngineStep::abandoned;
    }
    if (control_.enter() == RingControl::Go::abandon) return EngineStep::abandoned;
    return answer == PageAnswer::not_ram ? EngineStep::bad_address : EngineStep::done;
}

}  // namespace penumbra::vmm
