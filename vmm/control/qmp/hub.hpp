// What all QMP sessions share: the machine, what was told about it last, and the one eviction pass.
#pragma once

#include <boost/json/object.hpp>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "vmm/control/machine_control.hpp"
#include "vmm/control/qmp/message.hpp"

namespace penumbra::vmm {

class QmpSession;

/// One thread only. Sessions and the machine are the owner's; a session leaves before it dies.
class QmpHub {
public:
    /// `start_pass` has evict_pass() done on another thread and sees to it that pass_done() is called with its result.
    QmpHub(MachineControl& machine, std::function<void()> start_pass)
        : machine_(machine), start_pass_(std::move(start_pass)) {}

    /// From now on the session hears events.
    void enter(QmpSession& session);
    void leave(QmpSession& session);

    /// Tells what has changed since the last look. A state that came and went between two looks is not told.
    void observe();
    void pass_done(const EvictPass& result);
    [[nodiscard]] bool runs_pass_for(const QmpSession& session) const { return pass_session_ == &session; }

    // ---- commands: their events go out before they return ----
    [[nodiscard]] QmpAnswer stop();
    [[nodiscard]] QmpAnswer cont();
    [[nodiscard]] QmpAnswer system_reset();
    [[nodiscard]] QmpAnswer system_powerdown();
    [[nodiscard]] QmpAnswer quit();
    [[nodiscard]] QmpAnswer query_status() const;
    [[nodiscard]] QmpAnswer report();
    [[nodiscard]] QmpAnswer dirty_log(DirtyLogAction action);
    /// Nothing when the pass has begun: `session` is answered when it is done.
    [[nodiscard]] std::optional<QmpError> begin_pass(QmpSession& session, std::optional<boost::json::value> id);

private:
    [[nodiscard]] std::optional<QmpError> check_not_ended() const;
    void tell(std::string_view event, boost::json::object data = {});
    void tell_change(const ControlStatus& now);

    MachineControl& machine_;
    std::function<void()> start_pass_;
    std::vector<QmpSession*> sessions_;
    RunState told_ = RunState::prelaunch;
    std::uint64_t told_resets_ = 0;
    bool quit_asked_ = false;

    bool pass_runs_ = false;
    QmpSession* pass_session_ = nullptr;  // null when the one that asked is gone
    std::optional<boost::json::value> pass_id_;
};

}  // namespace penumbra::vmm
