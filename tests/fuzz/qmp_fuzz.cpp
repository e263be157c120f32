// Any bytes, cut anywhere, from a client of the control socket: every answer is one line of JSON.
//
// covers: vmm/control/qmp/message*.cpp vmm/control/qmp/session.cpp
#include <boost/json.hpp>
#include <string_view>

#include "base/assert.hpp"
#include "vmm/control/qmp/session.hpp"

namespace {

using namespace penumbra;
using namespace penumbra::vmm;

class SmallMachine final : public MachineControl {
public:
    void pause() override { status_.state = RunState::paused; }
    void resume() override { status_.state = RunState::running; }
    void reset() override {}
    void quit() override { status_.state = RunState::shutdown; }
    Button press_power_button() override { return Button::pressed; }
    [[nodiscard]] ControlStatus status() const override { return status_; }
    [[nodiscard]] std::string report_json() override { return "{}"; }
    [[nodiscard]] EvictPass evict_pass() override { return {}; }
    [[nodiscard]] std::expected<DirtyLogAnswer, std::string> dirty_log(DirtyLogAction) override {
        return DirtyLogAnswer{.pages = 1, .ranges = {{0, 1}}, .more = false};
    }

private:
    ControlStatus status_{.state = RunState::running, .all_parked = false, .error = {}, .exit_status = {}};
};

void check_lines(std::string_view lines) {
    PENUMBRA_ASSERT(lines.ends_with("\r\n"), "an answer that is not a line");
    lines.remove_suffix(2);
    PENUMBRA_ASSERT(lines.find_first_of("\r\n") == std::string_view::npos, "a line end within a line");
    boost::json::parse_options deep;  // an id of the deepest nesting lies one level deeper in its answer
    deep.max_depth = 40;
    boost::json::error_code error;
    const boost::json::value value = boost::json::parse(lines, error, {}, deep);
    PENUMBRA_ASSERT(!error && value.is_object(), "an answer that is not a JSON object");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    if (size == 0) return 0;
    std::string_view bytes(reinterpret_cast<const char*>(data), size);
    const std::size_t piece = std::size_t{1} + static_cast<unsigned char>(bytes[0]) % 64U;
    bytes.remove_prefix(1);

    SmallMachine machine;
    QmpHub hub(machine, [] {});
    QmpSession session(hub, check_lines);
    if (piece % 2 == 0) session.receive(R"({"execute":"qmp_capabilities"})");
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
        session.receive(bytes.substr(at, piece));
        if (session.waits()) hub.pass_done({});
        hub.observe();
    }
    return 0;
}
