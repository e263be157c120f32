#include "vmm/touches.hpp"

namespace penumbra::vmm {

RandomTouches::RandomTouches(const AddressLayout& layout, Gpa first, std::uint64_t seed, std::uint64_t most,
                             std::uint64_t tsc_khz)
    : layout_(layout),
      first_page_(*layout.window_page_of(frame_of(first))),
      most_(most),
      tsc_khz_(tsc_khz),
      random_(seed) {}

std::optional<TouchSource::Touch> RandomTouches::next(std::uint32_t) {
    if (finished_.load(std::memory_order_acquire) || given_.get() >= most_) return std::nullopt;
    given_.add();
    const MutexLock lock(mutex_);
    const std::uint64_t page = first_page_ + random_() % (layout_.pages() - first_page_);
    const auto kind = random_() % 2 == 0 ? abi::TouchKind::read : abi::TouchKind::write;
    return Touch{address_of(layout_.gfn_of(page)), kind};
}

void RandomTouches::touched(std::uint32_t, std::uint64_t tsc_ticks) {
    if (tsc_ticks > tsc_khz_ * 1000 * 3600) return;  // over an hour: the guest made it up
    latency_.record(tsc_ticks * 1'000'000 / tsc_khz_);
}

}  // namespace penumbra::vmm
