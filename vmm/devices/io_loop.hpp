// A device's own thread: an event loop that runs everything the device does by itself. Device models live on one loop
// and need no locks among their own parts; other threads reach them by post().
#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "base/thread.hpp"

namespace penumbra::vmm {

/// What runs on the loop never blocks: not on guest memory (see DmaClient), not on a file, not on another thread.
class IoLoop {
public:
    explicit IoLoop(std::string name) : name_(std::move(name)) {}
    ~IoLoop() { stop(); }
    IoLoop(const IoLoop&) = delete;
    IoLoop& operator=(const IoLoop&) = delete;

    /// The thread has ThreadRole::device. Once; not after stop().
    void start();
    /// Ends and joins the thread; what was posted and has not run is dropped with the loop. Idempotent. Not on the
    /// loop's own thread.
    void stop();

    /// Runs `task` on the loop's thread, in the order of posting. Any thread, also before start().
    void post(std::function<void()> task);
    [[nodiscard]] bool on_thread() const;

    /// For asio's descriptors and timers; used on the loop's thread, or before start().
    [[nodiscard]] boost::asio::io_context& context() { return context_; }

private:
    const std::string name_;
    mutable boost::asio::io_context context_{1};
    std::optional<boost::asio::executor_work_guard<boost::asio::io_context::executor_type>> busy_;
    Thread thread_;
};

}  // namespace penumbra::vmm
