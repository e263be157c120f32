#include "vmm/memory/window.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/assert.hpp"
#include "base/planted.hpp"
#include "shadow-mmu/fault/fault_handler.hpp"

namespace penumbra::vmm {

using bridge::RegisterMode;
using bridge::UffdProgress;
using bridge::WriteProtection;
using mmu::Content;

Result<Window> Window::create(bridge::Userfaultfd& uffd, HvpRange ram, HvpRange staging, TakeOutMode mode) {
    PENUMBRA_TRY(uffd.register_range(ram, RegisterMode::missing_and_write_protect));
    // UFFDIO_MOVE wants its target registered with the same descriptor.
    PENUMBRA_TRY(uffd.register_range(staging, RegisterMode::missing));
    return Window{uffd, ram, staging, mode};
}

Window::Window(Window&& other) noexcept
    : uffd_(std::exchange(other.uffd_, nullptr)),
      ram_(other.ram_),
      staging_(other.staging_),
      mode_(other.mode_),
      copies_(std::move(other.copies_)) {}

Window::~Window() {
    if (uffd_ != nullptr) abandon();
}

void Window::abandon() {
    (void)uffd_->unregister(ram_);
    (void)uffd_->unregister(staging_);
}

Result<> Window::put_in(Hvp page, Content content) {
    // A copy, also from a staging slot: moving the page back would flush every CPU's TLB for the slot, which takes
    // several times as long as copying 4 KiB (measured by bench/fault_latency).
    const UffdProgress progress =
        content.kind == Content::Kind::zero ? uffd_->zero(page, 1) : uffd_->copy(page, content.source, 1);
    PENUMBRA_ASSERT(progress.error_number != EEXIST, "the window holds a page that its table calls absent");
    if (progress.error_number != 0) {
        errno = progress.error_number;
        return fail_errno("put a page into", "guest memory", errno == ENOMEM ? "give the process more memory" : "");
    }
    return {};
}

std::size_t Window::take_out(HvpRange run, Hvp staging) {
    if (mode_ == TakeOutMode::copy) return copy_out(run, staging);
    const UffdProgress moved = uffd_->move(staging, run.first(), run.pages());
    PENUMBRA_ASSERT(moved.error_number != ENOENT, "the table calls a page present that the window lacks");
    if (moved.error_number == 0) return run.pages();
    // The page after the moved ones is shared (fork, merging) or pinned for a moment: copy that one and go on.
    const HvpRange rest{run.first() + moved.pages, run.pages() - moved.pages};
    const std::size_t copied = copy_out(HvpRange{rest.first(), 1}, staging + moved.pages);
    if (copied == 0 || rest.pages() == 1) return moved.pages + copied;
    return moved.pages + 1 + take_out(HvpRange{rest.first() + 1, rest.pages() - 1}, staging + (moved.pages + 1));
}

class Window::CopyScope {
public:
    CopyScope(Copies& copies, HvpRange run) : copies_(copies), run_(run) {
        const MutexLock lock(copies_.mutex);
        copies_.runs.push_back(run_);
    }
    ~CopyScope() {
        const MutexLock lock(copies_.mutex);
        copies_.runs.erase(std::ranges::find(copies_.runs, run_));
    }
    CopyScope(const CopyScope&) = delete;
    CopyScope& operator=(const CopyScope&) = delete;

private:
    Copies& copies_;
    const HvpRange run_;
};

std::size_t Window::copy_out(HvpRange run, Hvp staging) {
    const CopyScope scope(*copies_, run);
    if (uffd_->write_protect(run, WriteProtection::apply) != 0) {
        lift(run);  // it may have come part of the way
        return 0;
    }
    const UffdProgress copied = uffd_->copy(staging, address_of(run.first()), run.pages());
    if (planted(Plant::delay_before_install)) mmu::open_install_race();  // this race is as narrow
    if (copied.pages > 0) discard(HvpRange{run.first(), copied.pages});
    if (copied.pages < run.pages()) lift(HvpRange{run.first() + copied.pages, run.pages() - copied.pages});
    return copied.pages;
}

void Window::lift(HvpRange run) {
    const int rc = uffd_->write_protect(run, WriteProtection::remove);
    // ENOENT: the window was abandoned, which let everybody go.
    PENUMBRA_ASSERT(rc == 0 || rc == ENOENT, "cannot lift a write protection");
}

Result<> Window::protect(HvpRange run) {
    PENUMBRA_ASSERT(ram_.contains(run), "protected pages outside the window");
    const int rc = uffd_->write_protect(run, WriteProtection::apply);
    if (rc == 0) return {};
    errno = rc;
    return fail_errno("write-protect", "guest memory");
}

void Window::unprotect(HvpRange run) {
    PENUMBRA_ASSERT(ram_.contains(run), "unprotected pages outside the window");
    // Held over the ioctl: a copy that begins later protects its pages later.
    const MutexLock lock(copies_->mutex);
    Hvp at = run.first();
    while (at < run.end()) {
        // Up to the next run that is being copied, and behind it.
        HvpRange next{run.end(), 0};
        for (const HvpRange& copied : copies_->runs) {
            if (copied.end() > at && copied.first() < next.first()) next = copied;
        }
        if (next.first() > at) lift(HvpRange{at, next.first() - at});
        if (next.empty()) return;
        at = std::max(at, next.end());
    }
}

void Window::discard(HvpRange run) {
    const int rc = ::madvise(pointer_to(run.first()), run.bytes(), MADV_DONTNEED);
    PENUMBRA_ASSERT(rc == 0, "madvise refused to drop pages");
}

void Window::drop(HvpRange run) {
    PENUMBRA_ASSERT(ram_.contains(run), "dropped pages outside the window");
    discard(run);
}

void Window::empty_slots(HvpRange slots) {
    PENUMBRA_ASSERT(staging_.contains(slots), "emptied slots outside staging");
    if (!slots.empty()) discard(slots);
}

}  // namespace penumbra::vmm
