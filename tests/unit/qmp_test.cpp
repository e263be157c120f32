// The control socket as its clients see it.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <boost/json.hpp>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "tests/unit/qmp_client.hpp"
#include "tests/unit/qmp_fake_machine.hpp"
#include "vmm/control/qmp/server.hpp"

namespace penumbra::vmm {
namespace {

namespace json = boost::json;

class QmpTest : public ::testing::Test {
protected:
    QmpTest() {
        EXPECT_NE(::mkdtemp(folder_.data()), nullptr);
        Result<std::unique_ptr<QmpServer>> server = QmpServer::start(path(), machine_);
        EXPECT_TRUE(server) << server.error().message();
        if (server) server_ = std::move(*server);
    }
    ~QmpTest() override {
        server_.reset();
        EXPECT_FALSE(std::filesystem::exists(path()));
        std::filesystem::remove_all(folder_);
    }
    [[nodiscard]] std::string path() const { return folder_ + "/qmp"; }
    void expect_refused(const std::string& path, std::string_view part) {
        const auto server = QmpServer::start(path, machine_);
        ASSERT_FALSE(server);
        EXPECT_NE(server.error().message().find(part), std::string::npos) << server.error().message();
        EXPECT_FALSE(server.error().cure.empty());
    }

    std::string folder_ = (std::filesystem::temp_directory_path() / "penumbra-qmp-XXXXXX").string();
    FakeMachine machine_;
    std::unique_ptr<QmpServer> server_;
};

TEST_F(QmpTest, SocketIsForItsOwnerOnly) {
    struct stat status{};
    ASSERT_EQ(::lstat(path().c_str(), &status), 0);
    EXPECT_TRUE(S_ISSOCK(status.st_mode));
    EXPECT_EQ(status.st_mode & 07777U, 0600U);
}

TEST_F(QmpTest, PathsThatAreTakenAreRefusedWithTheCause) {
    expect_refused(path(), "another program listens there");
    std::ofstream{folder_ + "/file"} << "x";
    expect_refused(folder_ + "/file", "something is there already");
    expect_refused(folder_ + "/missing/qmp", "No such file");
    expect_refused(folder_ + "/" + std::string(200, 'x'), "1 to 107 bytes");
    const std::string stale = folder_ + "/stale";
    {
        const UniqueFd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, stale.data(), stale.size());
        ASSERT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    }
    expect_refused(stale, "nobody listens");
    EXPECT_TRUE(std::filesystem::exists(stale));
}

TEST_F(QmpTest, HandshakeThenCommands) {
    QmpClient client(path());
    EXPECT_TRUE(client.next().contains("QMP"));
    EXPECT_EQ(client.ask(R"({"execute":"stop","id":1})").at("error").at("class"), "CommandNotFound");
    EXPECT_TRUE(client.ask(R"({"execute":"qmp_capabilities"})").contains("return"));
    EXPECT_EQ(client.ask(R"({"execute":"query-status","id":[2]})").at("id"), json::array{2});
    EXPECT_TRUE(client.ask(R"({"execute":"stop"})").contains("return"));
    EXPECT_EQ(machine_.status().state, RunState::paused);
}

TEST_F(QmpTest, EveryClientHearsAChangeFromElsewhere) {
    QmpClient first(path());
    QmpClient second(path());
    QmpClient silent(path());  // has not negotiated
    EXPECT_TRUE(silent.next().contains("QMP"));
    first.begin();
    second.begin();
    machine_.set(RunState::io_error, "the disk is full");
    for (QmpClient* client : {&first, &second}) {
        EXPECT_EQ(client->next().at("event"), "STOP");
        const json::object error = client->next();
        EXPECT_EQ(error.at("event"), "x-PENUMBRA_IO_ERROR");
        EXPECT_EQ(error.at("data").at("message"), "the disk is full");
    }
    EXPECT_TRUE(first.ask(R"({"execute":"cont"})").contains("return"));
    EXPECT_EQ(second.next().at("event"), "RESUME");
    machine_.exit_guest();
    const json::object shutdown = second.next();
    EXPECT_EQ(shutdown.at("event"), "SHUTDOWN");
    EXPECT_EQ(json::serialize(shutdown.at("data")), R"({"guest":true,"reason":"guest-shutdown"})");
    EXPECT_EQ(json::serialize(silent.ask("1\n").at("error").at("class")), "\"GenericError\"") << "no event before";
}

TEST_F(QmpTest, PassLeavesTheSocketResponsive) {
    machine_.hold_passes(true);
    QmpClient client(path());
    client.begin();
    ASSERT_TRUE(client.send(R"({"execute":"x-penumbra-evict-pass","id":1})"));
    ASSERT_TRUE(machine_.wait_for_pass());
    EXPECT_EQ(client.ask(R"({"execute":"query-status","id":2})").at("id"), 2);
    EXPECT_TRUE(client.ask(R"({"execute":"x-penumbra-evict-pass","id":3})").contains("error"));
    client.send_end();  // and still the answer comes
    machine_.hold_passes(false);
    const json::object answer = client.next();
    EXPECT_EQ(answer.at("id"), 1);
    EXPECT_EQ(json::serialize(answer.at("return")), R"({"taken":3,"was-out":2,"kept":1})");
    EXPECT_TRUE(client.next().empty());
}

TEST_F(QmpTest, ClientsMayVanishAtAnyPoint) {
    machine_.hold_passes(true);
    {
        QmpClient client(path());
        client.begin();
        ASSERT_TRUE(client.send(R"({"execute":"x-penumbra-evict-pass"}{"execute":"sto)"));
        ASSERT_TRUE(machine_.wait_for_pass());
    }
    {
        const QmpClient client(path());
    }
    machine_.hold_passes(false);
    QmpClient client(path());
    client.begin();
    EXPECT_EQ(client.ask(R"({"execute":"query-status"})").at("return").at("status"), "running");
}

TEST_F(QmpTest, ClientThatDoesNotReadIsDroppedOrHeldBackAndHarmsNobody) {
    QmpClient deaf(path());
    std::string many;
    for (int i = 0; i < 1000; ++i) many += R"({"execute":"query-commands"})";
    bool taken = true;
    for (int i = 0; i < 200 && taken; ++i) taken = deaf.send(many);
    EXPECT_FALSE(taken);
    QmpClient client(path());
    client.begin();
}

TEST_F(QmpTest, OneClientTooManyIsTurnedAway) {
    std::vector<std::unique_ptr<QmpClient>> clients;
    for (std::size_t i = 0; i < QmpServer::most_clients; ++i) {
        clients.push_back(std::make_unique<QmpClient>(path()));
        clients.back()->begin();
    }
    QmpClient extra(path());
    EXPECT_TRUE(extra.next().empty());
    clients.front()->send_end();
    EXPECT_TRUE(clients.front()->next().empty());
    QmpClient again(path());
    again.begin();
}

TEST_F(QmpTest, QuitEndsTheMachineAndTheServerSaysGoodbye) {
    QmpClient client(path());
    QmpClient other(path());
    client.begin();
    other.begin();
    ASSERT_TRUE(client.send("{\"execute\":\"quit\",\"id\":9}\r\n{\"execute\":\"query-status\"}"));
    EXPECT_EQ(client.next().at("data").at("reason"), "host-qmp-quit");
    EXPECT_EQ(client.next().at("id"), 9);
    EXPECT_EQ(client.next().at("return").at("status"), "shutdown");
    server_.reset();
    EXPECT_EQ(other.next().at("event"), "SHUTDOWN");
    EXPECT_TRUE(other.next().empty());
}

TEST_F(QmpTest, StoppingTheServerTellsAnEndNobodyHasSeenYet) {
    QmpClient client(path());
    client.begin();
    machine_.exit_guest();
    server_.reset();
    EXPECT_EQ(client.next().at("event"), "SHUTDOWN");
    EXPECT_TRUE(client.next().empty());
}

TEST_F(QmpTest, StoppingTheServerDoesNotWaitForADeafClient) {
    QmpClient deaf(path());
    std::string many;
    for (int i = 0; i < 1000; ++i) many += R"({"execute":"query-commands"})";
    for (int i = 0; i < 20 && deaf.send(many); ++i) continue;
    const auto begin = std::chrono::steady_clock::now();
    server_.reset();
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds{5});
}

}  // namespace
}  // namespace penumbra::vmm
