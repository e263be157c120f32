// Waiting for guest pages, with the machine's pause in between: what comes while the device is paused is asked for
// again when it goes on, so that a paused device touches no guest memory and still loses nothing.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "vmm/devices/dma/dma_space.hpp"

namespace penumbra::vmm {

/// On the device's loop. Outlived by its client.
class PageWishes {
public:
    explicit PageWishes(DmaClient& dma) : dma_(dma) {}
    PageWishes(const PageWishes&) = delete;
    PageWishes& operator=(const PageWishes&) = delete;

    /// As DmaClient::want, but `then` never runs while paused.
    void want(Gfn gfn, mmu::FaultAccess access, DmaClient::Then then);
    void pause() { paused_ = true; }
    void resume();
    /// Forgets every wish: no `then` of an earlier want() runs after this returns.
    void cancel();
    [[nodiscard]] std::size_t waiting() const { return dma_.waiting() + put_off_.size(); }

private:
    struct Wish {
        Gfn gfn;
        mmu::FaultAccess access;
        DmaClient::Then then;
    };

    DmaClient& dma_;
    bool paused_ = false;
    std::vector<Wish> put_off_;  // their page came while paused
};

}  // namespace penumbra::vmm
