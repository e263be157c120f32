// The socket of one QMP client.
#pragma once

#include <array>
#include <boost/asio/local/stream_protocol.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "vmm/control/qmp/session.hpp"

namespace penumbra::vmm {

/// Lives on its socket's I/O thread. A client that does not read is not read from, and is dropped when what it has yet
/// to read outgrows a bound.
class QmpConnection final : public std::enable_shared_from_this<QmpConnection> {
public:
    using Socket = boost::asio::local::stream_protocol::socket;
    static constexpr std::size_t most_unread = std::size_t{1} << 20;

    /// `closed` is called once, from the I/O loop.
    QmpConnection(Socket socket, QmpHub& hub, std::function<void(QmpConnection&)> closed);

    void start();
    /// Takes no more commands; closes once the client has all that it is owed.
    void finish();
    void close();

private:
    void read();
    void send(std::string_view lines);
    void write_pending();
    void written(const boost::system::error_code& error);
    [[nodiscard]] bool writing() const { return !in_flight_.empty(); }

    Socket socket_;
    std::function<void(QmpConnection&)> closed_;
    std::array<char, 4096> buffer_{};
    std::string in_flight_;
    std::string pending_;
    bool read_due_ = false;  // reading waits for the client to read
    bool finishing_ = false;
    QmpSession session_;
};

}  // namespace penumbra::vmm
