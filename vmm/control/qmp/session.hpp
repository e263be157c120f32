// One client's side of the protocol, from bytes to bytes: no socket, no thread.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "vmm/control/qmp/hub.hpp"
#include "vmm/control/qmp/message.hpp"
#include "vmm/control/qmp/message_reader.hpp"

namespace penumbra::vmm {

class QmpSession {
public:
    /// Takes whole lines for the client, also from inside receive(). It may not destroy a session.
    using Write = std::function<void(std::string_view)>;

    QmpSession(QmpHub& hub, Write write) : hub_(hub), write_(std::move(write)) {}
    ~QmpSession() { hub_.leave(*this); }
    QmpSession(const QmpSession&) = delete;
    QmpSession& operator=(const QmpSession&) = delete;

    void greet() { write_(greeting_line()); }
    /// The client's next bytes, whatever they are.
    void receive(std::string_view bytes);
    void write(std::string_view lines) { write_(lines); }

    /// True while a command waits for an answer that comes later.
    [[nodiscard]] bool waits() const { return hub_.runs_pass_for(*this); }

private:
    void handle(const boost::json::value& message);
    /// Nothing when the answer comes later.
    [[nodiscard]] std::optional<QmpAnswer> execute(const QmpRequest& request,
                                                   const std::optional<boost::json::value>& id);
    [[nodiscard]] QmpAnswer negotiate(const boost::json::object& arguments);

    QmpHub& hub_;
    Write write_;
    MessageReader reader_;
    bool negotiated_ = false;
};

}  // namespace penumbra::vmm
