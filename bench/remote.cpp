// Pages written to and read back from a Redis server on this machine, per second, against redis-benchmark with values
// of the same size in pipelines of the same depth over one connection.
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <memory>
#include <vector>

#include "bench/common/arguments.hpp"
#include "bench/common/cpu_time.hpp"
#include "bench/common/payload_pages.hpp"
#include "bench/common/scratch.hpp"
#include "vmm/memory/tier/remote/page_value.hpp"
#include "vmm/memory/tier/remote/remote_reader.hpp"

namespace penumbra::bench {

namespace {

constexpr std::uint32_t pages = 8192;
constexpr std::uint32_t batch = 64;  // pages at once, as the reclaimer stores them
constexpr unsigned rounds = 9;
constexpr unsigned requests = 4 * pages;  // redis-benchmark tells the time in milliseconds
constexpr std::uint64_t capacity = 2ULL * pages * page_bytes;
constexpr double target = 0.7;

/// A database, and how many keys redis-benchmark draws from.
struct Keyspace {
    unsigned database;
    unsigned keys;
};
constexpr Keyspace fresh_keys{1, 1'000'000'000};  // hardly one comes twice
constexpr Keyspace known_keys{2, pages};          // written before, as many as Penumbra's

/// A server of the benchmark's own, without a copy of its data on disk.
class Server {
public:
    [[nodiscard]] static Result<std::unique_ptr<Server>> start(const Scratch& scratch);
    ~Server() {
        ::kill(id_, SIGKILL);
        ::waitpid(id_, nullptr, 0);
    }
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    [[nodiscard]] const std::string& socket() const { return socket_; }

private:
    Server(pid_t id, std::string socket) : id_(id), socket_(std::move(socket)) {}
    pid_t id_;
    std::string socket_;
};

Result<std::unique_ptr<Server>> Server::start(const Scratch& scratch) {
    const std::string socket = scratch.file("redis");
    std::vector<std::string> words{
        "redis-server",       "--port",    "0", "--unixsocket", socket, "--save", "", "--appendonly", "no",
        "--maxmemory-policy", "noeviction"};
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    pid_t id = 0;
    const int failed = ::posix_spawnp(&id, words.front().c_str(), &actions, nullptr, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) return fail("start redis-server", {}, "install it: ./x setup");
    std::unique_ptr<Server> server{new Server(id, socket)};
    constexpr unsigned tries = 500;
    for (unsigned i = 0; i < tries && ::access(socket.c_str(), F_OK) != 0; ++i) ::usleep(10'000);
    return server;
}

struct Score {
    std::vector<double> rates;
    CpuTime cpu;

    [[nodiscard]] double median() const {
        std::vector<double> sorted = rates;
        std::ranges::sort(sorted);
        return sorted[sorted.size() / 2];
    }
};

/// Adds what `work`, which is about `count` pages, takes by the clock and of this process's CPU time.
template <class Work>
[[nodiscard]] Result<> timed(Score& score, std::uint64_t count, Work&& work) {
    const CpuTime before = CpuTime::of_process();
    const auto began = std::chrono::steady_clock::now();
    PENUMBRA_TRY(work());
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    score.cpu += CpuTime::of_process() - before;
    score.rates.push_back(static_cast<double>(count) / took.count());
    return {};
}

class Bench {
public:
    explicit Bench(Report& report) : report_(report) {}
    [[nodiscard]] Result<> run();

private:
    [[nodiscard]] Result<> round();
    [[nodiscard]] Result<> write_all();
    [[nodiscard]] Result<> read_all();
    [[nodiscard]] Result<> other_side(Score* score, const char* test, unsigned depth, Keyspace space);
    [[nodiscard]] Result<> tidy_up();
    void add_rows(const char* name, const Score& ours, const Score& theirs, unsigned depth);

    Report& report_;
    Scratch scratch_;
    std::unique_ptr<Server> server_;
    std::optional<PayloadPages> payload_;
    std::vector<vmm::RemoteItem> items_;
    std::vector<vmm::StoreHandle> handles_;
    std::unique_ptr<vmm::RemoteTier> tier_;
    std::unique_ptr<vmm::RemoteReader> reader_;
    Score write_, read_, set_, get_;
};

Result<> Bench::write_all() {
    std::vector<vmm::StoreOutcome> outcomes(batch);
    handles_.clear();
    for (std::uint32_t at = 0; at < pages; at += batch) {
        const auto written = tier_->write_batch(std::span{items_}.subspan(at, batch), outcomes);
        if (!written) return std::unexpected{written.error().error};
        for (const vmm::StoreOutcome& outcome : outcomes) handles_.push_back(outcome.handle);
    }
    return {};
}

Result<> Bench::read_all() {
    constexpr unsigned depth = vmm::RemoteReader::depth;
    std::vector<std::array<std::byte, page_bytes>> out(depth);
    std::array<vmm::ReadItem, depth> reads;
    std::array<vmm::StoreOutcome, depth> outcomes;
    for (std::uint32_t at = 0; at < pages; at += depth) {
        for (std::uint32_t i = 0; i < depth; ++i) {
            reads[i] = {handles_[at + i], items_[at + i].identity.owner(), out[i].data()};
        }
        const auto read = reader_->read_batch(reads, outcomes);
        if (!read) return std::unexpected{read.error().error};
    }
    return {};
}

/// What redis-benchmark does in a second in a database of its own, with keys drawn from so many.
Result<> Bench::other_side(Score* score, const char* test, unsigned depth, Keyspace space) {
    const std::string command = "exec redis-benchmark -s " + server_->socket() + " -t " + test + " -c 1 -P " +
                                std::to_string(depth) + " -n " + std::to_string(requests) + " -r " +
                                std::to_string(space.keys) + " -d " + std::to_string(vmm::largest_value) + " --dbnum " +
                                std::to_string(space.database) + " --csv";
    const CpuTime before = CpuTime::of(RUSAGE_CHILDREN);
    FILE* const pipe = ::popen(command.c_str(), "re");
    if (pipe == nullptr) return fail_errno("start redis-benchmark");
    std::array<char, 512> line{};
    double rate = 0;  // "SET","123456.78",...
    while (std::fgets(line.data(), line.size(), pipe) != nullptr) {
        (void)std::sscanf(line.data(), "\"%*[A-Z]\",\"%lf\"", &rate);
    }
    (void)::pclose(pipe);
    if (rate <= 0) return fail("understand what redis-benchmark prints", {}, "install redis-tools: ./x setup");
    if (score == nullptr) return {};
    score->rates.push_back(rate);
    score->cpu += CpuTime::of(RUSAGE_CHILDREN) - before;
    return {};
}

/// Empties what redis-benchmark wrote and Penumbra dropped; in nobody's time.
Result<> Bench::tidy_up() {
    tier_->drop_batch(handles_);
    constexpr std::chrono::seconds patience{10};
    const auto until = std::chrono::steady_clock::now() + patience;
    while (tier_->health().pending_drops > 0) {
        if (std::chrono::steady_clock::now() > until)
            return fail("take dropped pages off", "redis-server", "run it again");
        ::usleep(1000);
    }
    PENUMBRA_TRY_ASSIGN(auto connection, vmm::Connection::open({{}, 0, server_->socket()}, patience));
    connection.queue({"SELECT", std::to_string(fresh_keys.database)});
    connection.queue({"FLUSHDB"});
    PENUMBRA_TRY(connection.receive(std::chrono::steady_clock::now() + patience));
    PENUMBRA_TRY(connection.receive(std::chrono::steady_clock::now() + patience));
    return {};
}

Result<> Bench::round() {
    PENUMBRA_TRY(timed(write_, pages, [this] { return write_all(); }));
    PENUMBRA_TRY(other_side(&set_, "set", batch, fresh_keys));
    PENUMBRA_TRY(timed(read_, pages, [this] { return read_all(); }));
    PENUMBRA_TRY(other_side(&get_, "get", vmm::RemoteReader::depth, known_keys));
    return tidy_up();
}

void Bench::add_rows(const char* name, const Score& ours, const Score& theirs, unsigned depth) {
    const std::string each = " pages of " + std::to_string(vmm::largest_value) + " bytes with their headers, " +
                             std::to_string(depth) + " at once, one connection by unix socket";
    report_.add(Row{name, ours.median(), "pages/s", theirs.median(), target, Better::higher});
    report_.add(Side{std::string{name} + ": Penumbra", std::to_string(rounds * pages) + each, ours.cpu});
    report_.add(Side{std::string{name} + ": redis-benchmark", std::to_string(rounds * requests) + each, theirs.cpu});
}

Result<> Bench::run() {
    PENUMBRA_TRY_ASSIGN(PayloadPages payload, PayloadPages::load(pages, [](PageView) { return true; }));
    payload_.emplace(std::move(payload));
    for (std::uint32_t i = 0; i < pages; ++i) {
        items_.push_back(vmm::RemoteItem::of_page({1, i, 1}, payload_->page(i)));
    }
    PENUMBRA_TRY_ASSIGN(server_, Server::start(scratch_));
    vmm::RemoteTierOptions options;
    options.url = "redis+unix://" + server_->socket();
    options.capacity_bytes = capacity;
    PENUMBRA_TRY_ASSIGN(tier_, vmm::RemoteTier::create(options));
    PENUMBRA_TRY_ASSIGN(reader_, tier_->make_reader());
    constexpr unsigned until_all_are_there = 3;
    for (unsigned i = 0; i < until_all_are_there; ++i) {
        PENUMBRA_TRY(other_side(nullptr, "set", batch, known_keys));
    }
    for (unsigned i = 0; i < rounds; ++i) PENUMBRA_TRY(round());
    add_rows("write_batch", write_, set_, batch);
    add_rows("read_batch", read_, get_, vmm::RemoteReader::depth);
    report_.note("Medians of " + std::to_string(rounds) +
                 " rounds, the sides in turns, one server for both. Penumbra sets "
                 "an expiry with each page, checks and decodes each page that it reads.");
    reader_.reset();
    tier_.reset();
    return {};
}

}  // namespace

}  // namespace penumbra::bench

int main(int count, char** arguments) {
    using namespace penumbra::bench;
    const auto output = parse_arguments(count, arguments);
    if (!output) return 2;
    Report report("remote", {"write_batch", "read_batch"});
    Bench bench(report);
    const penumbra::Result<> outcome = bench.run();
    return report.finish(*output, outcome);
}
