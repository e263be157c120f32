#include "bench/common/bare_loop.hpp"

#include <fcntl.h>
#include <immintrin.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/assert.hpp"

namespace penumbra::bench {

using bridge::FaultMessage;
using bridge::Userfaultfd;

Result<std::unique_ptr<BareLoop>> BareLoop::create(const PayloadPages& payload, BareLoopOptions options,
                                                   const Cpus& cpus) {
    const std::size_t bytes = (std::size_t{payload.count()} + 1) * page_bytes;
    PENUMBRA_TRY_ASSIGN(MappedRegion memory, MappedRegion::anonymous(bytes));
    PENUMBRA_TRY(memory.keep_private());
    PENUMBRA_TRY_ASSIGN(MappedRegion staging, MappedRegion::anonymous(bytes));
    PENUMBRA_TRY(staging.keep_private());
    PENUMBRA_TRY_ASSIGN(Userfaultfd uffd, Userfaultfd::open(static_cast<std::uint64_t>(bridge::UffdFeature::move)));
    PENUMBRA_TRY(uffd.register_range(memory.pages(), bridge::RegisterMode::missing_and_write_protect));
    if (options.waiting == Waiting::read && ::fcntl(uffd.fd(), F_SETFL, 0) != 0) {
        return fail_errno("make reads block on", "userfaultfd");
    }
    std::unique_ptr<BareLoop> loop(
        new BareLoop(payload, std::move(options), std::move(memory), std::move(staging), std::move(uffd)));
    loop->thread_ = Thread("bare-loop", ThreadRole::vmm, [self = loop.get(), cpus] {
        cpus.place(0, self->options_.placement);
        self->run();
    });
    return loop;
}

BareLoop::~BareLoop() {
    stop_.store(true, std::memory_order_release);
    arm();
    *reinterpret_cast<volatile std::byte*>(pointer_to(pages().end())) = std::byte{1};
    thread_.join();
}

void BareLoop::drop(std::span<const std::uint32_t> pages) {
    for (const std::uint32_t page : pages) {
        const std::size_t at = std::size_t{page} * page_bytes;
        memory_.discard(at, page_bytes);
        if (options_.filling == Filling::move)
            std::memcpy(staging_.data() + at, payload_.page(page).data(), page_bytes);
    }
}

void BareLoop::arm() {
    if (options_.waiting != Waiting::spin) return;
    wanted_.store(1, std::memory_order_release);
    wanted_.notify_one();
    while (!spinning_.load(std::memory_order_acquire)) _mm_pause();
}

Hva BareLoop::source_of(Hvp page) const {
    const std::uint64_t index = std::min<std::uint64_t>(page - memory_.pages().first(), payload_.count() - 1);
    if (options_.filling == Filling::move) return staging_.address() + index * page_bytes;
    return hva_of(payload_.page(static_cast<std::uint32_t>(index)).data());
}

Hvp BareLoop::next_fault() {
    std::array<FaultMessage, 1> messages;
    for (;;) {
        const Result<std::size_t> count = uffd_.read(messages);
        PENUMBRA_ASSERT(count.has_value(), "userfaultfd cannot be read");
        if (*count == 1) return frame_of(messages[0].address);
        if (options_.waiting == Waiting::poll) {
            pollfd waiting{uffd_.fd(), POLLIN, 0};
            (void)::poll(&waiting, 1, -1);
        }
    }
}

void BareLoop::fill(Hvp page) {
    const bool last = page == pages().end();
    const Hva source = source_of(page);
    const bool moves = options_.filling == Filling::move && !last;
    const bridge::UffdProgress done = moves ? uffd_.move(page, frame_of(source), 1) : uffd_.copy(page, source, 1);
    PENUMBRA_ASSERT(done.error_number == 0, "the bare loop could not put a page in");
}

void BareLoop::run() {
    const bool spins = options_.waiting == Waiting::spin;
    while (!stop_.load(std::memory_order_acquire)) {
        if (spins) {
            wanted_.wait(0, std::memory_order_acquire);
            spinning_.store(true, std::memory_order_release);
        }
        const Hvp page = next_fault();
        if (spins) {  // before the fault is answered: the next arm() may follow at once
            wanted_.store(0, std::memory_order_release);
            spinning_.store(false, std::memory_order_release);
        }
        fill(page);
    }
}

}  // namespace penumbra::bench
