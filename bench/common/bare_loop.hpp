// The baseline of the fault path: one thread that reads the userfaultfd message and puts a prepared page in, nothing
// else.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/mapped_region.hpp"
#include "base/thread.hpp"
#include "bench/common/payload_pages.hpp"
#include "bench/common/placement.hpp"
#include "notifier-bridge/source/userfaultfd.hpp"

namespace penumbra::bench {

enum class Waiting : std::uint8_t {
    read,  ///< asleep in read()
    poll,  ///< read() that does not block, poll(), read()
    spin,  ///< read() over and over
};
enum class Filling : std::uint8_t { copy, move };

struct BareLoopOptions {
    std::string name;
    Placement placement = Placement::anywhere;
    Waiting waiting = Waiting::read;
    Filling filling = Filling::copy;
};

class BareLoop {
public:
    /// A memory of as many pages as the payload, each of which reads as the payload's when touched.
    [[nodiscard]] static Result<std::unique_ptr<BareLoop>> create(const PayloadPages& payload, BareLoopOptions options,
                                                                  const Cpus& cpus);
    ~BareLoop();
    BareLoop(const BareLoop&) = delete;
    BareLoop& operator=(const BareLoop&) = delete;

    [[nodiscard]] const BareLoopOptions& options() const { return options_; }
    [[nodiscard]] HvpRange pages() const { return HvpRange{memory_.pages().first(), payload_.count()}; }
    /// Takes pages out again, so that they fault.
    void drop(std::span<const std::uint32_t> pages);
    /// Before each fault: a loop that spins does so when this returns, and until it has served one fault.
    void arm();

private:
    BareLoop(const PayloadPages& payload, BareLoopOptions options, MappedRegion memory, MappedRegion staging,
             bridge::Userfaultfd uffd)
        : payload_(payload),
          options_(std::move(options)),
          memory_(std::move(memory)),
          staging_(std::move(staging)),
          uffd_(std::move(uffd)) {}

    void run();
    [[nodiscard]] Hvp next_fault();
    void fill(Hvp page);
    [[nodiscard]] Hva source_of(Hvp page) const;

    const PayloadPages& payload_;
    const BareLoopOptions options_;
    MappedRegion memory_;   // one page more than the payload: touching it ends the loop
    MappedRegion staging_;  // Filling::move: where the prepared pages are
    bridge::Userfaultfd uffd_;
    std::atomic<bool> stop_{false};
    std::atomic<std::uint32_t> wanted_{0};  // Waiting::spin: 1 from arm() until the fault is served
    std::atomic<bool> spinning_{false};
    Thread thread_;
};

}  // namespace penumbra::bench
