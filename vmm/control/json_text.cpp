#include "vmm/control/json_text.hpp"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <cmath>

namespace penumbra::vmm {

namespace {

void write_value(std::string& text, const boost::json::value& value, std::size_t depth);

template <class Container, class WriteItem>
void write_items(std::string& text, const Container& items, char open, char close, std::size_t depth,
                 const WriteItem& write_item) {
    text += open;
    bool first = true;
    for (const auto& item : items) {
        text += first ? "\n" : ",\n";
        first = false;
        text.append(2 * (depth + 1), ' ');
        write_item(item);
    }
    if (!first) {
        text += '\n';
        text.append(2 * depth, ' ');
    }
    text += close;
}

void write_value(std::string& text, const boost::json::value& value, std::size_t depth) {
    if (const auto* object = value.if_object()) {
        write_items(text, *object, '{', '}', depth, [&](const boost::json::key_value_pair& member) {
            text += boost::json::serialize(boost::json::value(member.key()));
            text += ": ";
            write_value(text, member.value(), depth + 1);
        });
    } else if (const auto* array = value.if_array()) {
        write_items(text, *array, '[', ']', depth,
                    [&](const boost::json::value& element) { write_value(text, element, depth + 1); });
    } else if (const auto* number = value.if_double()) {
        text += fmt::format("{}", std::isfinite(*number) ? *number : 0.0);
    } else {
        text += boost::json::serialize(value);
    }
}

}  // namespace

std::string indented_json(const boost::json::value& value) {
    std::string text;
    write_value(text, value, 0);
    text += '\n';
    return text;
}

}  // namespace penumbra::vmm
