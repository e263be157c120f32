// Puts pages into guest memory and takes them out, and protects them, through the one userfaultfd.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/counters.hpp"
#include "base/mutex.hpp"
#include "notifier-bridge/source/userfaultfd.hpp"
#include "shadow-mmu/flush/window_port.hpp"
#include "vmm/memory/staging_memory.hpp"

namespace penumbra::vmm {

/// How pages leave a running guest.
enum class TakeOutMode : std::uint8_t {
    move,  ///< UFFDIO_MOVE: the page itself goes to its slot (Linux 6.8)
    copy,  ///< write-protect, copy, drop: on older kernels
};

class Window final : public mmu::WindowPort, public StagingMemory {
public:
    /// Registers `ram` and `staging` with `uffd`, which must outlive this object, as must the memory.
    [[nodiscard]] static Result<Window> create(bridge::Userfaultfd& uffd, HvpRange ram, HvpRange staging,
                                               TakeOutMode mode);
    Window(Window&& other) noexcept;
    Window& operator=(Window&&) = delete;
    ~Window() override;

    [[nodiscard]] Result<> put_in(Hvp page, mmu::Content content) override;
    [[nodiscard]] std::size_t take_out(HvpRange run, Hvp staging) override;
    void drop(HvpRange run) override;
    void wake(HvpRange run) override { uffd_->wake(run); }
    [[nodiscard]] Result<> protect(HvpRange run) override;
    void unprotect(HvpRange run) override;

    /// Gives the memory back to the kernel's own fault handling and wakes every sleeper. Calls after it fail or do
    /// nothing.
    void abandon();
    void empty_slots(HvpRange slots) override;
    [[nodiscard]] TakeOutMode mode() const { return mode_; }

private:
    /// Runs that are being copied out: what protects them until they are gone is no watch, and nobody may lift it.
    struct Copies {
        Mutex mutex{LockRank::leaf};
        std::vector<HvpRange> runs GUARDED_BY(mutex);
    };
    class CopyScope;

    Window(bridge::Userfaultfd& uffd, HvpRange ram, HvpRange staging, TakeOutMode mode)
        : uffd_(&uffd), ram_(ram), staging_(staging), mode_(mode), copies_(std::make_unique<Copies>()) {}

    [[nodiscard]] std::size_t copy_out(HvpRange run, Hvp staging);
    void lift(HvpRange run);
    static void discard(HvpRange run);

    bridge::Userfaultfd* uffd_;
    HvpRange ram_;
    HvpRange staging_;
    TakeOutMode mode_;
    std::unique_ptr<Copies> copies_;
};

}  // namespace penumbra::vmm
