#include "vmm/control/qmp/hub.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <utility>

#include "vmm/control/qmp/session.hpp"

namespace penumbra::vmm {

namespace json = boost::json;

namespace {

std::unexpected<QmpError> refused(QmpError error) { return std::unexpected{std::move(error)}; }

json::object shutdown_data(const ControlStatus& status, bool quit_asked) {
    if (status.ended_by_reset) return {{"guest", true}, {"reason", "guest-reset"}};
    if (status.exit_status) return {{"guest", true}, {"reason", "guest-shutdown"}};
    if (!status.error.empty()) return {{"guest", false}, {"reason", "host-error"}};
    return {{"guest", false}, {"reason", quit_asked ? "host-qmp-quit" : "host-signal"}};
}

}  // namespace

void QmpHub::enter(QmpSession& session) {
    if (sessions_.empty()) {
        const ControlStatus now = machine_.status();
        told_ = now.state;
        told_resets_ = now.guest_resets;
    }
    sessions_.push_back(&session);
}

void QmpHub::leave(QmpSession& session) {
    std::erase(sessions_, &session);
    if (pass_session_ == &session) pass_session_ = nullptr;
}

void QmpHub::tell(std::string_view event, json::object data) {
    const std::string line = event_line(event, std::move(data));
    for (QmpSession* session : sessions_) session->write(line);
}

void QmpHub::observe() {
    const ControlStatus now = machine_.status();
    if (std::exchange(told_resets_, now.guest_resets) != now.guest_resets) {
        tell("RESET", {{"guest", true}, {"reason", "guest-reset"}});
    }
    if (now.state == told_) return;
    tell_change(now);
    told_ = now.state;
}

void QmpHub::tell_change(const ControlStatus& now) {
    switch (now.state) {
        case RunState::prelaunch:
            return;
        case RunState::running:
            return tell("RESUME");
        case RunState::paused:
            if (told_ == RunState::running) tell("STOP");
            return;
        case RunState::io_error:
            if (told_ == RunState::running) tell("STOP");
            return tell("x-PENUMBRA_IO_ERROR", {{"message", now.error}});
        case RunState::shutdown:
            return tell("SHUTDOWN", shutdown_data(now, quit_asked_));
    }
}

std::optional<QmpError> QmpHub::check_not_ended() const {
    if (machine_.status().state != RunState::shutdown) return std::nullopt;
    return QmpError{QmpErrorClass::generic, "The machine has ended"};
}

QmpAnswer QmpHub::stop() {
    if (auto ended = check_not_ended()) return refused(std::move(*ended));
    machine_.pause();
    observe();
    return json::object{};
}

QmpAnswer QmpHub::cont() {
    if (auto ended = check_not_ended()) return refused(std::move(*ended));
    observe();
    machine_.resume();
    // It may fail again before anybody looks: it did run in between, and the new error has to be told.
    if (told_ == RunState::paused || told_ == RunState::io_error) {
        tell("RESUME");
        told_ = RunState::running;
    }
    observe();
    return json::object{};
}

QmpAnswer QmpHub::system_reset() {
    if (auto ended = check_not_ended()) return refused(std::move(*ended));
    machine_.reset();
    tell("RESET", {{"guest", false}, {"reason", "host-qmp-system-reset"}});
    observe();
    return json::object{};
}

QmpAnswer QmpHub::system_powerdown() {
    if (auto ended = check_not_ended()) return refused(std::move(*ended));
    if (machine_.press_power_button() == MachineControl::Button::absent) {
        return refused({QmpErrorClass::generic, "This machine has no power button"});
    }
    tell("POWERDOWN");
    observe();
    return json::object{};
}

QmpAnswer QmpHub::quit() {
    quit_asked_ = true;
    machine_.quit();
    observe();
    return json::object{};
}

QmpAnswer QmpHub::query_status() const {
    const ControlStatus status = machine_.status();
    return json::object{{"status", name_of(status.state)},
                        {"running", status.state == RunState::running},
                        {"all-parked", status.all_parked}};
}

QmpAnswer QmpHub::report() {
    json::error_code error;
    json::value report = json::parse(machine_.report_json(), error);
    if (error) return refused({QmpErrorClass::generic, "The report cannot be read: " + error.message()});
    return report;
}

QmpAnswer QmpHub::dirty_log(DirtyLogAction action) {
    if (auto ended = check_not_ended()) return refused(std::move(*ended));
    auto answer = machine_.dirty_log(action);
    if (!answer) return refused({QmpErrorClass::generic, std::move(answer).error()});
    if (action != DirtyLogAction::take) return json::object{};
    json::array ranges;
    for (const DirtyLogAnswer::Range& range : answer->ranges) {
        ranges.push_back(json::object{{"address", range.address}, {"pages", range.pages}});
    }
    return json::object{{"pages", answer->pages}, {"ranges", std::move(ranges)}, {"more", answer->more}};
}

std::optional<QmpError> QmpHub::begin_pass(QmpSession& session, std::optional<json::value> id) {
    if (auto ended = check_not_ended()) return ended;
    if (pass_runs_) return QmpError{QmpErrorClass::generic, "An eviction pass is already running"};
    pass_runs_ = true;
    pass_session_ = &session;
    pass_id_ = std::move(id);
    start_pass_();
    return std::nullopt;
}

void QmpHub::pass_done(const EvictPass& result) {
    pass_runs_ = false;
    QmpSession* session = std::exchange(pass_session_, nullptr);
    if (session == nullptr) return;
    const json::object answer{{"taken", result.taken}, {"was-out", result.was_out}, {"kept", result.kept}};
    session->write(answer_line(answer, std::exchange(pass_id_, std::nullopt)));
}

}  // namespace penumbra::vmm
