// The emulated accelerator as the rest of the VMM sees it: a bus device whose engine works in guest memory through its
// own tables, by guest-physical address or by the addresses of a guest process (shared virtual memory), pinning
// nothing. Registers, ring, PASID table and commands: guest-images/common/machine_abi.hpp.
#pragma once

#include <cstdint>
#include <functional>

#include "base/counters.hpp"
#include "base/result.hpp"
#include "base/thread.hpp"
#include "shadow-mmu/shadow/shadow_table.hpp"
#include "vmm/devices/accelerator/engine.hpp"
#include "vmm/devices/accelerator/page_requests.hpp"
#include "vmm/devices/accelerator/ring_control.hpp"
#include "vmm/devices/device.hpp"

namespace penumbra::vmm {

struct AcceleratorOptions {
    unsigned page_request_workers = 2;
    /// A page cannot be supplied now. Told once, on a worker thread; the device waits until resume(). Must not call
    /// stop().
    std::function<void(const Error&)> on_error;
};

/// Commands run in order, one at a time. Thread-safe; pause, resume, reset and stop come from one thread at a time and
/// from none of the device's own. Accesses other than 8 aligned bytes, unknown registers, and writes that a register
/// does not take at that time are refused: they read all ones, do nothing, and count.
///
/// A bad ring, or a doorbell that goes backwards or past a full ring, sets ring_error and disables the device. Clearing
/// `control` lets the command in hand finish; later ones stay pending. A copy whose ranges overlap is a bad_command.
///
/// A command in a process's addresses reads that process's PASID entry when it begins. It waits, as long as it takes,
/// for the guest's answer to a page request, and for the end of the time that a guest who writes its tables has; pause,
/// reset and stop end or interrupt either. Nothing is read ahead for it: each page is found by the tables as they are
/// when the work comes to it.
class Accelerator final : public Device {
public:
    static constexpr std::uint64_t register_bytes = page_bytes;

    /// Tables and source outlive the device; the tables' address space is released only after stop(). The contexts of
    /// `processes` are all the device's.
    Accelerator(mmu::DeviceTable& table, mmu::WindowSource& source, mmu::ShadowTable& processes,
                AcceleratorOptions options);
    Accelerator(const Accelerator&) = delete;
    Accelerator& operator=(const Accelerator&) = delete;
    ~Accelerator() override { stop(); }

    [[nodiscard]] std::uint64_t read(std::uint64_t offset, unsigned bytes) override;
    void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override;

    /// Returns when the engine holds no page; it stops between two pages of a command. Pages on their way in still
    /// come.
    void pause() { control_.pause(); }
    /// Goes on after pause() or after an error.
    void resume();
    /// Back to power-on: what is in hand is dropped without an answer, processes are forgotten. Stays paused if it was.
    void reset();
    /// Drops what is in hand and ends every thread; waits for page requests that the pager has in hand. Idempotent.
    void stop();

    struct Stats {
        std::uint64_t commands;           ///< answered, whatever the result
        std::uint64_t bytes;              ///< of the commands that were done
        std::uint64_t page_requests;      ///< pages that the engine had no translation for
        std::uint64_t page_requests_out;  ///< those of them that were out of the window
        std::uint64_t page_retries;       ///< requests that invalidations kept from being served, and that went on
        std::uint64_t refused;            ///< register accesses

        std::uint64_t process_commands;  ///< commands that named a process, whatever the result
        std::uint64_t process_faults;    ///< of those commands, for want of a translation
        std::uint64_t guest_faults;      ///< those of them that the guest's tables forbid
        std::uint64_t guest_requests;    ///< page requests to the guest
        std::uint64_t waits;             ///< faults that waited because a guest's time with its table was not over
        std::uint64_t cooperative;       ///< processes whose tables are not watched any more, for too many writes
        std::uint64_t broken_watches;    ///< writes to watched tables
        std::uint64_t broken_in_use;     ///< those of them that waited for the device to let a page go
    };
    [[nodiscard]] Stats stats() const;

private:
    mmu::WindowSource& source_;
    const mmu::ShadowTable& processes_;
    RingControl control_;
    PageRequests requests_;
    Engine engine_;
    Counter refused_;
    Thread thread_;
};

}  // namespace penumbra::vmm
