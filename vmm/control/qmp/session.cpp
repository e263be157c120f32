#include "vmm/control/qmp/session.hpp"

#include <algorithm>
#include <array>
#include <boost/json.hpp>

namespace penumbra::vmm {

namespace json = boost::json;

namespace {

struct Command {
    std::string_view name;
    QmpAnswer (*run)(QmpHub&);
};

constexpr std::string_view capabilities_command = "qmp_capabilities";
constexpr std::string_view pass_command = "x-penumbra-evict-pass";
constexpr std::string_view log_command = "x-penumbra-dirty-log";

QmpAnswer list_commands(QmpHub& hub);

// None of these takes arguments.
constexpr std::array commands{
    Command{"query-status", [](QmpHub& hub) { return hub.query_status(); }},
    Command{"stop", [](QmpHub& hub) { return hub.stop(); }},
    Command{"cont", [](QmpHub& hub) { return hub.cont(); }},
    Command{"system_reset", [](QmpHub& hub) { return hub.system_reset(); }},
    Command{"system_powerdown", [](QmpHub& hub) { return hub.system_powerdown(); }},
    Command{"quit", [](QmpHub& hub) { return hub.quit(); }},
    Command{"query-version", [](QmpHub&) -> QmpAnswer { return version_object(); }},
    Command{"query-commands", list_commands},
    Command{"x-penumbra-report", [](QmpHub& hub) { return hub.report(); }},
};

QmpAnswer list_commands(QmpHub&) {
    json::array list;
    for (const Command& command : commands) list.push_back(json::object{{"name", command.name}});
    for (const std::string_view name : {capabilities_command, pass_command, log_command})
        list.push_back(json::object{{"name", name}});
    return list;
}

std::unexpected<QmpError> refused(std::string text) {
    return std::unexpected{QmpError{QmpErrorClass::generic, std::move(text)}};
}
std::unexpected<QmpError> not_found(std::string text) {
    return std::unexpected{QmpError{QmpErrorClass::command_not_found, std::move(text)}};
}
std::unexpected<QmpError> unexpected_parameter(json::string_view name) {
    return refused("Parameter '" + std::string(name) + "' is unexpected");
}

/// The one argument of the dirty log.
std::expected<DirtyLogAction, QmpError> read_action(const json::object& arguments) {
    const json::value* action = nullptr;
    for (const json::key_value_pair& argument : arguments) {
        if (argument.key() != "action") return unexpected_parameter(argument.key());
        action = &argument.value();
    }
    if (action == nullptr) return refused("Parameter 'action' is missing");
    if (!action->is_string()) return refused("Invalid parameter type for 'action', expected: string");
    const json::string& name = action->get_string();
    if (name == "start") return DirtyLogAction::start;
    if (name == "take") return DirtyLogAction::take;
    if (name == "stop") return DirtyLogAction::stop;
    return refused("Parameter 'action' is 'start', 'take' or 'stop'");
}

}  // namespace

void QmpSession::receive(std::string_view bytes) {
    reader_.feed(bytes, [this](const QmpMessage& message) {
        if (message) return handle(*message);
        write_(answer_line(refused(message.error()), std::nullopt));
    });
}

void QmpSession::handle(const json::value& message) {
    const std::optional<json::value> id = request_id(message);
    const std::expected<QmpRequest, QmpError> request = read_request(message);
    if (!request) return write_(answer_line(std::unexpected{request.error()}, id));
    if (const std::optional<QmpAnswer> answer = execute(*request, id)) write_(answer_line(*answer, id));
}

std::optional<QmpAnswer> QmpSession::execute(const QmpRequest& request, const std::optional<json::value>& id) {
    if (request.command == capabilities_command) return negotiate(request.arguments);
    if (!negotiated_) return not_found("Expecting capabilities negotiation with 'qmp_capabilities'");
    const auto* command = std::ranges::find(commands, request.command, &Command::name);
    const bool is_pass = request.command == pass_command;
    if (request.command == log_command) {
        const auto action = read_action(request.arguments);
        if (!action) return std::unexpected{action.error()};
        return hub_.dirty_log(*action);
    }
    if (command == commands.end() && !is_pass) {
        return not_found("The command " + request.command + " has not been found");
    }
    if (!request.arguments.empty()) return unexpected_parameter(request.arguments.begin()->key());
    if (!is_pass) return command->run(hub_);
    if (std::optional<QmpError> error = hub_.begin_pass(*this, id)) return std::unexpected{std::move(*error)};
    return std::nullopt;
}

QmpAnswer QmpSession::negotiate(const json::object& arguments) {
    if (negotiated_) return not_found("Capabilities negotiation is already complete, command ignored");
    for (const json::key_value_pair& argument : arguments) {
        if (argument.key() != "enable") return unexpected_parameter(argument.key());
        const json::array* wanted = argument.value().if_array();
        if (wanted == nullptr) return refused("Parameter 'enable' must be an array");
        if (!wanted->empty()) return refused("No capability of QMP is offered");
    }
    negotiated_ = true;
    hub_.enter(*this);
    return json::object{};
}

}  // namespace penumbra::vmm
