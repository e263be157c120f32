// QMP's messages: requests as they come in; greeting, answers and events as they go out, each one line ended by CR LF.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

namespace penumbra::vmm {

enum class QmpErrorClass : std::uint8_t { generic, command_not_found };

struct QmpError {
    QmpErrorClass error_class = QmpErrorClass::generic;
    std::string text;
};
using QmpAnswer = std::expected<boost::json::value, QmpError>;

struct QmpRequest {
    std::string command;
    boost::json::object arguments;
};

[[nodiscard]] std::expected<QmpRequest, QmpError> read_request(const boost::json::value& message);
/// What a request wants repeated in its answer.
[[nodiscard]] std::optional<boost::json::value> request_id(const boost::json::value& message);

/// What query-version answers.
[[nodiscard]] boost::json::object version_object();
[[nodiscard]] std::string greeting_line();
[[nodiscard]] std::string answer_line(const QmpAnswer& answer, const std::optional<boost::json::value>& id);
/// Carries the time of the call.
[[nodiscard]] std::string event_line(std::string_view name, boost::json::object data = {});

}  // namespace penumbra::vmm
