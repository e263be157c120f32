// One device of a test: a loop and its client, taken down in the right order.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstring>
#include <functional>
#include <future>
#include <span>
#include <string>
#include <thread>
#include <type_traits>

#include "vmm/devices/dma/dma_service.hpp"
#include "vmm/devices/dma/dma_space.hpp"
#include "vmm/devices/io_loop.hpp"

namespace penumbra::test {

/// Asks again and again until the answer is yes; false when `limit` passed first.
template <class Fn>
[[nodiscard]] bool becomes_true(Fn&& fn, std::chrono::milliseconds limit = std::chrono::seconds{60}) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (!fn()) {
        if (std::chrono::steady_clock::now() > deadline) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    return true;
}

class DmaLoop {
public:
    enum class Start { now, later };

    explicit DmaLoop(vmm::DmaService& service, Start start = Start::now, std::string name = "test-loop")
        : loop_(std::move(name)), client_(service, loop_) {
        if (start == Start::now) loop_.start();
    }
    ~DmaLoop() { loop_.stop(); }
    DmaLoop(const DmaLoop&) = delete;
    DmaLoop& operator=(const DmaLoop&) = delete;

    [[nodiscard]] vmm::IoLoop& loop() { return loop_; }
    /// To be used on the loop's thread, or while that does not run.
    [[nodiscard]] vmm::DmaClient& client() { return client_; }

    /// Runs fn(client) on the loop and waits for its answer.
    template <class Fn>
    auto call(Fn fn) {
        std::packaged_task<std::invoke_result_t<Fn, vmm::DmaClient&>()> task([&] { return fn(client_); });
        auto answer = task.get_future();
        loop_.post([&task] { task(); });
        return answer.get();
    }
    /// Wants the page, and runs fn(client, grant) in the callback; waits for that.
    template <class Fn>
    auto with_page(Gfn gfn, Fn fn) {
        std::packaged_task<std::invoke_result_t<Fn, vmm::DmaClient&, vmm::DmaGrant>(vmm::DmaGrant)> task(
            [&](vmm::DmaGrant grant) { return fn(client_, grant); });
        auto answer = task.get_future();
        loop_.post([&] { client_.want(gfn, mmu::FaultAccess::write, [&task](vmm::DmaGrant grant) { task(grant); }); });
        return answer.get();
    }

private:
    vmm::IoLoop loop_;
    vmm::DmaClient client_;
};

}  // namespace penumbra::test
