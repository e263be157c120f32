// The control socket: QMP over a Unix socket, on a thread of its own ("qmp"). An eviction pass gets another
// ("qmp-evict"), so that the socket answers meanwhile.
#pragma once

#include <memory>
#include <string>

#include "base/result.hpp"
#include "vmm/control/machine_control.hpp"

namespace penumbra::vmm {

class QmpServer {
public:
    static constexpr std::size_t most_clients = 8;  ///< one more is turned away

    /// Serves until destroyed; `machine` must outlive it.
    [[nodiscard]] static Result<std::unique_ptr<QmpServer>> start(const std::string& path, MachineControl& machine);
    /// Tells clients how the machine ended, gives them half a second to read what they are owed, and removes the socket
    /// file. Waits for an eviction pass that has begun.
    ~QmpServer();
    QmpServer(const QmpServer&) = delete;
    QmpServer& operator=(const QmpServer&) = delete;

private:
    class Loop;
    explicit QmpServer(std::unique_ptr<Loop> loop);
    std::unique_ptr<Loop> loop_;
};

}  // namespace penumbra::vmm
