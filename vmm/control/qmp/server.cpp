#include "vmm/control/qmp/server.hpp"

#include <fcntl.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/system_error.hpp>
#include <chrono>
#include <utility>
#include <vector>

#include "base/thread.hpp"
#include "vmm/control/qmp/connection.hpp"
#include "vmm/control/qmp/hub.hpp"
#include "vmm/control/qmp/socket_file.hpp"

namespace penumbra::vmm {

namespace asio = boost::asio;
using boost::system::error_code;
using Protocol = asio::local::stream_protocol;

namespace {
using namespace std::chrono_literals;
constexpr auto look_interval = 50ms;  // between looks at the machine, while there are clients
constexpr auto accept_pause = 1s;     // after a failed accept: out of descriptors, most likely
constexpr auto last_words_time = 500ms;
}  // namespace

class QmpServer::Loop {
public:
    Loop(SocketFile file, int listening, MachineControl& machine)
        : machine_(machine), hub_(machine, [this] { start_pass(); }), file_(std::move(file)) {
        acceptor_.assign(Protocol(), listening);
        thread_ = Thread("qmp", ThreadRole::vmm, [this] {
            accept();
            io_.run();
        });
    }
    ~Loop() {
        asio::post(io_, [this] { shut_down(); });
        thread_.join();
    }
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;

private:
    void accept() {
        acceptor_.async_accept([this](const error_code& error, Protocol::socket socket) {
            if (stopping_) return;
            if (error) return accept_later();
            if (connections_.size() < most_clients) begin(std::move(socket));
            accept();
        });
    }

    void accept_later() {
        retry_.expires_after(accept_pause);
        retry_.async_wait([this](const error_code& error) {
            if (!error && !stopping_) accept();
        });
    }

    void begin(Protocol::socket socket) {
        (void)::fcntl(socket.native_handle(), F_SETFD, FD_CLOEXEC);
        const auto closed = [this](QmpConnection& connection) {
            std::erase_if(connections_, [&](const auto& kept) { return kept.get() == &connection; });
            if (connections_.empty()) {
                look_.cancel();
                last_words_.cancel();
            }
        };
        connections_.push_back(std::make_shared<QmpConnection>(std::move(socket), hub_, closed));
        if (connections_.size() == 1) look();
        connections_.back()->start();
    }

    void look() {
        look_.expires_after(look_interval);
        look_.async_wait([this](const error_code& error) {
            if (error || stopping_ || connections_.empty()) return;
            hub_.observe();
            look();
        });
    }

    void start_pass() {
        pass_ = Thread("qmp-evict", ThreadRole::vmm, [this] {
            const EvictPass result = machine_.evict_pass();
            asio::post(io_, [this, result] { hub_.pass_done(result); });
        });
    }

    void shut_down() {
        stopping_ = true;
        file_.close();
        hub_.observe();
        error_code ignored;
        acceptor_.close(ignored);
        look_.cancel();
        retry_.cancel();
        for_all_connections(&QmpConnection::finish);
        if (connections_.empty()) return;
        last_words_.expires_after(last_words_time);
        last_words_.async_wait([this](const error_code&) { for_all_connections(&QmpConnection::close); });
    }

    /// They leave the list meanwhile.
    void for_all_connections(void (QmpConnection::*act)()) {
        const auto all = connections_;
        for (const auto& connection : all) (connection.get()->*act)();
    }

    MachineControl& machine_;
    QmpHub hub_;  // outlives the connections, the last of which the I/O context may hold
    SocketFile file_;
    asio::io_context io_{1};
    Protocol::acceptor acceptor_{io_};
    asio::steady_timer look_{io_};
    asio::steady_timer retry_{io_};
    asio::steady_timer last_words_{io_};
    std::vector<std::shared_ptr<QmpConnection>> connections_;
    bool stopping_ = false;
    Thread pass_;  // set on the server thread, joined after it
    Thread thread_;
};

QmpServer::QmpServer(std::unique_ptr<Loop> loop) : loop_(std::move(loop)) {}

QmpServer::~QmpServer() = default;

Result<std::unique_ptr<QmpServer>> QmpServer::start(const std::string& path, MachineControl& machine) {
    PENUMBRA_TRY_ASSIGN(SocketFile file, SocketFile::listen(path));
    PENUMBRA_TRY_ASSIGN(const int listening, file.duplicate());
    try {
        return std::unique_ptr<QmpServer>(new QmpServer(std::make_unique<Loop>(std::move(file), listening, machine)));
    } catch (const boost::system::system_error& error) {
        return std::unexpected{Error{"serve the control socket", path, error.code().value(), {}}};
    }
}

}  // namespace penumbra::vmm
