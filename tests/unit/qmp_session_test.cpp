// The protocol without a socket: bytes in, lines out.
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <string>
#include <vector>

#include "tests/unit/qmp_fake_machine.hpp"
#include "vmm/control/qmp/session.hpp"

namespace penumbra::vmm {
namespace {

namespace json = boost::json;

class QmpSessionTest : public ::testing::Test {
protected:
    /// Everything that comes of these bytes, one value a line.
    std::vector<json::object> all(std::string_view bytes) {
        written_.clear();
        session_.receive(bytes);
        std::vector<json::object> values;
        std::size_t at = 0;
        while (at < written_.size()) {
            const std::size_t end = written_.find("\r\n", at);
            EXPECT_NE(end, std::string::npos) << "a line without CR LF";
            values.push_back(json::parse(written_.substr(at, end - at)).as_object());
            at = end + 2;
        }
        return values;
    }
    json::object one(std::string_view bytes) {
        const auto values = all(bytes);
        EXPECT_EQ(values.size(), 1U) << bytes;
        return values.empty() ? json::object{} : values[0];
    }
    void negotiate() { EXPECT_TRUE(one(R"({"execute":"qmp_capabilities"})").contains("return")); }
    void expect_error(const json::object& answer, std::string_view error_class, std::string_view part) {
        ASSERT_TRUE(answer.contains("error")) << json::serialize(answer);
        const json::object& error = answer.at("error").as_object();
        EXPECT_EQ(error.at("class").as_string(), error_class);
        EXPECT_NE(std::string_view(error.at("desc").as_string()).find(part), std::string_view::npos)
            << json::serialize(answer);
    }

    FakeMachine machine_;
    int passes_ = 0;
    QmpHub hub_{machine_, [this] { ++passes_; }};
    std::string written_;
    QmpSession session_{hub_, [this](std::string_view text) { written_ += text; }};
};

TEST_F(QmpSessionTest, GreetsLikeQemu) {
    session_.greet();
    const json::object greeting = json::parse(written_).as_object();
    const json::object& qmp = greeting.at("QMP").as_object();
    EXPECT_EQ(qmp.at("version").at("qemu").at("major"), 7);
    EXPECT_TRUE(qmp.at("version").at("package").is_string());
    EXPECT_TRUE(qmp.at("capabilities").as_array().empty());
}

TEST_F(QmpSessionTest, NothingButNegotiationComesFirst) {
    expect_error(one(R"({"execute":"stop","id":1})"), "CommandNotFound", "qmp_capabilities");
    EXPECT_EQ(machine_.status().state, RunState::running);
    expect_error(one(R"({"execute":"qmp_capabilities","arguments":{"enable":["oob"]}})"), "GenericError", "offered");
    expect_error(one(R"({"execute":"query-status"})"), "CommandNotFound", "qmp_capabilities");
    EXPECT_EQ(json::serialize(one(R"({"execute":"qmp_capabilities","arguments":{"enable":[]},"id":7})")),
              R"({"return":{},"id":7})");
    expect_error(one(R"({"execute":"qmp_capabilities"})"), "CommandNotFound", "already complete");
}

TEST_F(QmpSessionTest, IdsComeBackWhateverTheyAre) {
    negotiate();
    for (const std::string id : {"0", "-1.5", "\"a\"", "null", "[1,{\"b\":[]}]", "{\"id\":true}"}) {
        EXPECT_EQ(one(R"({"execute":"query-version","id":)" + id + "}").at("id"), json::parse(id));
        EXPECT_EQ(one(R"({"execute":"no-such","id":)" + id + "}").at("id"), json::parse(id));
    }
    EXPECT_FALSE(one(R"({"execute":"query-version"})").contains("id"));
}

TEST_F(QmpSessionTest, MalformedRequestsAreRefusedByName) {
    negotiate();
    expect_error(one("[1]"), "GenericError", "must be a JSON object");
    expect_error(one("12\n"), "GenericError", "must be a JSON object");
    expect_error(one("{}"), "GenericError", "lacks member 'execute'");
    expect_error(one(R"({"execute":1})"), "GenericError", "'execute' must be a string");
    expect_error(one(R"({"execute":"stop","arguments":[]})"), "GenericError", "'arguments' must be an object");
    expect_error(one(R"({"execute":"stop","extra":1})"), "GenericError", "'extra' is unexpected");
    expect_error(one(R"({"exec-oob":"stop"})"), "GenericError", "'exec-oob' is unexpected");
    expect_error(one(R"({"execute":"stop","arguments":{"now":1}})"), "GenericError", "Parameter 'now' is unexpected");
    expect_error(one(R"({"execute":"balloon"})"), "CommandNotFound", "The command balloon has not been found");
    EXPECT_EQ(machine_.status().state, RunState::running);
}

TEST_F(QmpSessionTest, GarbageIsAnsweredOnceALineAndReadingGoesOn) {
    negotiate();
    const std::string deep = std::string(5000, '[');
    for (const std::string& bad : {std::string("\xff\xfe\0\x01 zzz", 9), std::string("{'execute':'stop'}"), deep,
                                   std::string("{\"a\":\"\xc3\x28\"}"), std::string("}"), std::string("\"open")}) {
        const auto answers = all(bad + "\n" + R"({"execute":"query-status"})");
        ASSERT_EQ(answers.size(), 2U) << bad;
        expect_error(answers[0], "GenericError", "JSON parse error");
        EXPECT_TRUE(answers[1].contains("return"));
    }
}

TEST_F(QmpSessionTest, LongestMessageIsTakenAndALongerOneRefused) {
    negotiate();
    const auto padded = [](std::size_t bytes) {
        const std::string head = R"({"execute":"query-version","id":")";
        return head + std::string(bytes - head.size() - 2, 'x') + "\"}\r\n";
    };
    EXPECT_TRUE(one(padded(MessageReader::longest)).contains("return"));
    expect_error(one(padded(MessageReader::longest + 1)), "GenericError", "longer than 65536 bytes");
    EXPECT_TRUE(one(R"({"execute":"query-version"})").contains("return"));
}

TEST_F(QmpSessionTest, MessagesMaySpreadOverWritesAndShareThem) {
    negotiate();
    const std::string two = "{\"execute\":\n\"query-status\",\"id\":1}{\"execute\":\"query-version\",\"id\":2}\r\n";
    EXPECT_EQ(all(two).size(), 2U);
    std::size_t answers = 0;
    for (const char byte : two) answers += all({&byte, 1}).size();
    EXPECT_EQ(answers, 2U);
}

TEST_F(QmpSessionTest, EventsPrecedeTheAnswer) {
    negotiate();
    const auto stop = all(R"({"execute":"stop"})");
    ASSERT_EQ(stop.size(), 2U);
    EXPECT_EQ(stop[0].at("event"), "STOP");
    EXPECT_TRUE(stop[0].at("timestamp").at("seconds").is_int64());
    EXPECT_EQ(json::serialize(stop[1]), R"({"return":{}})");
    EXPECT_EQ(json::serialize(one(R"({"execute":"query-status"})")),
              R"({"return":{"status":"paused","running":false,"all-parked":true}})");
    EXPECT_EQ(all(R"({"execute":"stop"})").size(), 1U) << "nothing changed";
    EXPECT_EQ(all(R"({"execute":"cont"})").at(0).at("event"), "RESUME");
    const auto reset = all(R"({"execute":"system_reset"})");
    EXPECT_EQ(reset.at(0).at("event"), "RESET");
    EXPECT_EQ(reset.at(0).at("data").at("reason"), "host-qmp-system-reset");
    EXPECT_EQ(machine_.resets, 1);
    const auto quit = all(R"({"execute":"quit"})");
    EXPECT_EQ(quit.at(0).at("event"), "SHUTDOWN");
    EXPECT_EQ(json::serialize(quit.at(0).at("data")), R"({"guest":false,"reason":"host-qmp-quit"})");
    expect_error(one(R"({"execute":"cont"})"), "GenericError", "has ended");
}

TEST_F(QmpSessionTest, AnErrorThatComesBackAfterContIsToldAgain) {
    machine_.resumed_state = RunState::io_error;
    machine_.set(RunState::io_error, "the disk is full");
    negotiate();
    const auto told = all(R"({"execute":"cont"})");
    ASSERT_EQ(told.size(), 4U);
    EXPECT_EQ(told[0].at("event"), "RESUME");
    EXPECT_EQ(told[1].at("event"), "STOP");
    EXPECT_EQ(told[2].at("event"), "x-PENUMBRA_IO_ERROR");
    EXPECT_TRUE(told[3].contains("return"));
}

TEST_F(QmpSessionTest, EveryListedCommandIsKnownAndTheReportIsOneLine) {
    negotiate();
    const json::object list = one(R"({"execute":"query-commands"})");
    EXPECT_EQ(list.at("return").as_array().size(), 12U);
    for (const json::value& command : list.at("return").as_array()) {
        const std::string name(command.at("name").as_string());
        const json::object answer = one(R"({"execute":")" + name + R"(","arguments":{"x":0}})");
        if (name != "qmp_capabilities") expect_error(answer, "GenericError", "unexpected");
    }
    EXPECT_EQ(one(R"({"execute":"x-penumbra-report"})").at("return").at("outcome"), "running");
}

TEST_F(QmpSessionTest, OnePassAtATimeAndItsAnswerComesWhenItIsDone) {
    negotiate();
    EXPECT_TRUE(all(R"({"execute":"x-penumbra-evict-pass","id":"p"})").empty());
    EXPECT_TRUE(session_.waits());
    expect_error(one(R"({"execute":"x-penumbra-evict-pass","id":"q"})"), "GenericError", "already running");
    written_.clear();
    hub_.pass_done({.taken = 1, .was_out = 2, .kept = 3});
    EXPECT_EQ(written_, "{\"return\":{\"taken\":1,\"was-out\":2,\"kept\":3},\"id\":\"p\"}\r\n");
    EXPECT_FALSE(session_.waits());
    EXPECT_TRUE(all(R"({"execute":"x-penumbra-evict-pass"})").empty());
    EXPECT_EQ(passes_, 2);
}

TEST_F(QmpSessionTest, TheDirtyLogIsStartedTakenAndStopped) {
    negotiate();
    const auto ask = [this](std::string_view action) {
        return one(R"({"execute":"x-penumbra-dirty-log","arguments":{"action":")" + std::string(action) + R"("}})");
    };
    expect_error(ask("take"), "GenericError", "off");
    EXPECT_EQ(ask("start").at("return"), json::object{});
    expect_error(ask("start"), "GenericError", "on already");
    EXPECT_EQ(json::serialize(ask("take")),
              R"({"return":{"pages":4,"ranges":[{"address":12288,"pages":1},{"address":4294967296,"pages":3}],)"
              R"("more":true}})");
    EXPECT_EQ(ask("stop").at("return"), json::object{});
    expect_error(ask("stop"), "GenericError", "off");

    expect_error(ask("begin"), "GenericError", "'start', 'take' or 'stop'");
    expect_error(one(R"({"execute":"x-penumbra-dirty-log"})"), "GenericError", "missing");
    expect_error(one(R"({"execute":"x-penumbra-dirty-log","arguments":{"action":1}})"), "GenericError", "type");
    machine_.quit();
    expect_error(ask("start"), "GenericError", "ended");
}

}  // namespace
}  // namespace penumbra::vmm
