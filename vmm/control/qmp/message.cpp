#include "vmm/control/qmp/message.hpp"

#include <boost/json.hpp>
#include <chrono>

#include "vmm/control/version.hpp"

namespace penumbra::vmm {

namespace json = boost::json;

namespace {

std::unexpected<QmpError> refused(std::string text) {
    return std::unexpected{QmpError{QmpErrorClass::generic, std::move(text)}};
}

std::string quoted(json::string_view name) { return "'" + std::string(name) + "'"; }

std::string_view name_of(QmpErrorClass error_class) {
    return error_class == QmpErrorClass::command_not_found ? "CommandNotFound" : "GenericError";
}

std::string line(const json::object& object) { return json::serialize(object) + "\r\n"; }

}  // namespace

std::expected<QmpRequest, QmpError> read_request(const json::value& message) {
    const json::object* object = message.if_object();
    if (object == nullptr) return refused("QMP input must be a JSON object");
    QmpRequest request;
    bool has_command = false;
    for (const json::key_value_pair& member : *object) {
        const auto name = member.key();
        if (name == "execute") {
            const json::string* command = member.value().if_string();
            if (command == nullptr) return refused("QMP input member 'execute' must be a string");
            request.command.assign(command->data(), command->size());
            has_command = true;
        } else if (name == "arguments") {
            const json::object* arguments = member.value().if_object();
            if (arguments == nullptr) return refused("QMP input member 'arguments' must be an object");
            request.arguments = *arguments;
        } else if (name != "id") {
            return refused("QMP input member " + quoted(name) + " is unexpected");
        }
    }
    if (!has_command) return refused("QMP input lacks member 'execute'");
    return request;
}

std::optional<json::value> request_id(const json::value& message) {
    const json::object* object = message.if_object();
    const json::value* id = object != nullptr ? object->if_contains("id") : nullptr;
    return id != nullptr ? std::optional{*id} : std::nullopt;
}

json::object version_object() {
    // The QMP dialect that is spoken, as clients of QEMU know it; who speaks it stands in "package".
    return {{"qemu", json::object{{"major", 7}, {"minor", 2}, {"micro", 0}}},
            {"package", "penumbra " + std::string(penumbra_version)}};
}

std::string greeting_line() {
    const json::object qmp{{"version", version_object()}, {"capabilities", json::array{}}};
    return line({{"QMP", qmp}});
}

std::string answer_line(const QmpAnswer& answer, const std::optional<json::value>& id) {
    json::object object;
    if (answer) {
        object["return"] = *answer;
    } else {
        object["error"] = json::object{{"class", name_of(answer.error().error_class)}, {"desc", answer.error().text}};
    }
    if (id) object["id"] = *id;
    return line(object);
}

std::string event_line(std::string_view name, json::object data) {
    using namespace std::chrono;
    const auto now = duration_cast<microseconds>(system_clock::now().time_since_epoch()).count();
    json::object object{{"timestamp", json::object{{"seconds", now / 1'000'000}, {"microseconds", now % 1'000'000}}},
                        {"event", name}};
    if (!data.empty()) object["data"] = std::move(data);
    return line(object);
}

}  // namespace penumbra::vmm
