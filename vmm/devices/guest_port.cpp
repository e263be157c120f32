#include "vmm/devices/guest_port.hpp"

#include <span>
#include <string>

#include "base/assert.hpp"
#include "base/thread.hpp"
#include "vmm/devices/terminal_text.hpp"

namespace penumbra::vmm {

namespace {

constexpr std::uint64_t longest_text = page_bytes - sizeof(std::uint64_t);

std::uint32_t calling_vcpu() {
    const ThreadRegister::Entry* self = ThreadRegister::self();
    PENUMBRA_ASSERT(self != nullptr, "the guest port is accessed by registered threads");
    const std::uint32_t index = self->index.load(std::memory_order_relaxed);
    PENUMBRA_ASSERT(index < abi::max_vcpus, "vCPU number out of range");
    return index;
}

/// Whether a block of `size` bytes lies in the page it starts in.
bool in_one_page(Gpa block, std::uint64_t size) { return size <= page_bytes - page_offset(block); }

}  // namespace

std::uint64_t GuestPort::read(std::uint64_t offset, unsigned size) {
    if (size == sizeof(std::uint64_t)) {
        switch (static_cast<abi::Port>(offset)) {
            case abi::Port::next_touch:
                return next_touch(calling_vcpu());
            case abi::Port::touch_kind:
                return static_cast<std::uint64_t>(touch_kinds_[calling_vcpu()].load(std::memory_order_relaxed));
            case abi::Port::cpu_number:
                return calling_vcpu();
            case abi::Port::finish_early:
                return finish_early_.load(std::memory_order_acquire) ? 1 : 0;
            default:
                break;
        }
    }
    refused_.add();
    return all_ones;
}

void GuestPort::write(std::uint64_t offset, unsigned size, std::uint64_t value) {
    if (size == sizeof(std::uint64_t)) {
        switch (static_cast<abi::Port>(offset)) {
            case abi::Port::console:
                return print(Gpa{value});
            case abi::Port::report:
                return take_report(Gpa{value});
            case abi::Port::exit:
                if (first_end()) listener_.guest_exited(value);
                return;
            case abi::Port::trap:
                if (first_end()) listener_.guest_trapped(calling_vcpu(), value);
                return;
            case abi::Port::touch_ticks:
                if (touches_ == nullptr) break;
                return touches_->touched(calling_vcpu(), value);
            default:
                break;
        }
    }
    refused_.add();
}

std::uint64_t GuestPort::next_touch(std::uint32_t cpu) {
    if (touches_ == nullptr) return abi::no_more;
    const std::optional<TouchSource::Touch> touch = touches_->next(cpu);
    if (!touch) return abi::no_more;
    touch_kinds_[cpu].store(touch->kind, std::memory_order_relaxed);
    return touch->page.value();
}

void GuestPort::print(Gpa block) {
    // The length is read once: what the guest makes of it afterwards does not matter.
    std::uint64_t length = 0;
    if (!in_one_page(block, sizeof(length)) || !memory_.read(block, std::as_writable_bytes(std::span(&length, 1)))) {
        return refused_.add();
    }
    if (length > longest_text || !in_one_page(block, sizeof(length) + length)) return refused_.add();
    std::string text(length, '\0');
    if (length > 0 && !memory_.read(block + sizeof(length), std::as_writable_bytes(std::span(text)))) {
        return refused_.add();
    }
    if (text.ends_with('\n')) text.pop_back();
    listener_.guest_printed(terminal_text(text));
}

void GuestPort::take_report(Gpa block) {
    abi::Report report{};
    const bool well_placed = block.value() % alignof(abi::Report) == 0 && in_one_page(block, sizeof(report));
    if (!well_placed || !memory_.read(block, std::as_writable_bytes(std::span(&report, 1)))) return refused_.add();
    const MutexLock lock(mutex_);
    report_ = report;
}

std::optional<abi::Report> GuestPort::last_report() const {
    const MutexLock lock(mutex_);
    return report_;
}

}  // namespace penumbra::vmm
