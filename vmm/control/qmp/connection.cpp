#include "vmm/control/qmp/connection.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <utility>

namespace penumbra::vmm {

namespace asio = boost::asio;
using boost::system::error_code;

QmpConnection::QmpConnection(Socket socket, QmpHub& hub, std::function<void(QmpConnection&)> closed)
    : socket_(std::move(socket)),
      closed_(std::move(closed)),
      session_(hub, [this](std::string_view lines) { send(lines); }) {}

void QmpConnection::start() {
    session_.greet();
    read();
}

void QmpConnection::finish() {
    finishing_ = true;
    if (!writing() && !session_.waits()) close();
}

void QmpConnection::close() {
    if (!socket_.is_open()) return;
    error_code ignored;
    socket_.close(ignored);
    closed_(*this);
}

void QmpConnection::read() {
    socket_.async_read_some(asio::buffer(buffer_),
                            [self = shared_from_this()](const error_code& error, std::size_t bytes) {
                                if (error == asio::error::operation_aborted || self->finishing_) return;
                                // At the end of its commands a client may still be there for the answers.
                                if (error) return self->finish();
                                self->session_.receive({self->buffer_.data(), bytes});
                                if (self->writing()) {
                                    self->read_due_ = true;
                                } else {
                                    self->read();
                                }
                            });
}

void QmpConnection::send(std::string_view lines) {
    if (!socket_.is_open()) return;
    if (pending_.size() + lines.size() > most_unread) {
        // Not from here: the hub may be telling all sessions.
        asio::post(socket_.get_executor(), [self = shared_from_this()] { self->close(); });
        return;
    }
    pending_ += lines;
    if (!writing()) write_pending();
}

void QmpConnection::write_pending() {
    in_flight_ = std::exchange(pending_, {});
    asio::async_write(socket_, asio::buffer(in_flight_),
                      [self = shared_from_this()](const error_code& error, std::size_t) { self->written(error); });
}

void QmpConnection::written(const error_code& error) {
    in_flight_.clear();
    if (error) return close();
    if (!pending_.empty()) return write_pending();
    if (finishing_) {
        if (!session_.waits()) close();
    } else if (std::exchange(read_due_, false)) {
        read();
    }
}

}  // namespace penumbra::vmm
