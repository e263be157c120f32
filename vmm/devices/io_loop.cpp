#include "vmm/devices/io_loop.hpp"

#include <boost/asio/post.hpp>
#include <utility>

#include "base/assert.hpp"
#include "vmm/devices/dma/device_threads.hpp"

namespace penumbra::vmm {

void IoLoop::start() {
    PENUMBRA_ASSERT(!thread_.joinable() && !context_.stopped(), "a loop started twice");
    busy_.emplace(context_.get_executor());
    thread_ = Thread(
        name_, ThreadRole::device, [this] { context_.run(); }, static_cast<std::uint32_t>(DeviceThread::io_loop));
}

void IoLoop::stop() {
    PENUMBRA_ASSERT(!on_thread(), "a loop was stopped by its own thread");
    context_.stop();
    thread_.join();
}

void IoLoop::post(std::function<void()> task) { boost::asio::post(context_, std::move(task)); }

bool IoLoop::on_thread() const { return context_.get_executor().running_in_this_thread(); }

}  // namespace penumbra::vmm
