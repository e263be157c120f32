// A job in a child: whatever a bug does there, the parent lives on, and every job begins from the same state.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <type_traits>

#include "base/assert.hpp"
#include "base/mapped_region.hpp"
#include "base/unique_fd.hpp"
#include "tests/sim/run.hpp"

namespace penumbra::test::sim {

namespace {

static_assert(std::is_trivially_copyable_v<Seen> && std::is_trivially_copyable_v<Switch>);

/// What the child tells, in memory that both see.
struct Board {
    Seen seen;
    std::uint64_t index = 0;
    std::uint64_t steps = 0;
    bool failed = false;
    std::uint32_t switches = 0;
    std::array<char, 512> what{};
    std::array<char, 24'000> trace{};
    std::array<Switch, 40'000> kept{};
};
constexpr std::size_t board_bytes = (sizeof(Board) + page_bytes - 1) / page_bytes * page_bytes;
constexpr unsigned hang_seconds = 120;

template <std::size_t n>
void put(std::array<char, n>& to, const std::string& text) {
    const std::size_t length = std::min(text.size(), n - 1);
    const std::size_t from = text.size() - length;  // of a long trace the end
    std::memcpy(to.data(), text.data() + from, length);
    to[length] = 0;
}

[[noreturn]] void do_work(const std::function<void(Reporter&)>& work, Board& board) {
    const auto failed = [&](Failure failure) {
        board.steps = failure.steps;
        put(board.what, failure.what);
        put(board.trace, failure.trace);
        board.switches = static_cast<std::uint32_t>(std::min(failure.switches.size(), board.kept.size()));
        std::copy_n(failure.switches.begin(), board.switches, board.kept.begin());
        board.failed = true;
        ::_exit(1);
    };
    Reporter reporter{board.seen, board.index, failed};
    work(reporter);
    ::_exit(0);
}

}  // namespace

Report play_apart(const Job& job) {
    return work_apart([&job](Reporter& reporter) {
        for (std::optional<Play> next = job(0); next; next = job(reporter.index)) {
            ::alarm(hang_seconds);
            play(next->plan, *next->strategy, reporter.seen, reporter.failed);
            ++reporter.index;
        }
    });
}

Report work_apart(const std::function<void(Reporter&)>& work) {
    const UniqueFd memory(::memfd_create("simulation", MFD_CLOEXEC));
    PENUMBRA_ASSERT(memory && ::ftruncate(memory.get(), board_bytes) == 0, "no memory for a simulation");
    Result<MappedRegion> region = MappedRegion::shared_file(memory.get(), board_bytes, 0, MapAccess::read_write);
    PENUMBRA_ASSERT(region.has_value(), "no memory for a simulation");
    Board& board = *new (region->data()) Board;
    const pid_t child = ::fork();
    PENUMBRA_ASSERT(child >= 0, "no process for a simulation");
    if (child == 0) do_work(work, board);
    int status = 0;
    PENUMBRA_ASSERT(::waitpid(child, &status, 0) == child, "a simulation's process was lost");

    Report report{.seen = board.seen, .failure = std::nullopt};
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return report;
    report.failure.emplace();
    report.failure->index = board.index;
    report.failure->steps = board.failed ? board.steps : board.seen.steps;
    report.failure->what = board.failed          ? board.what.data()
                           : WIFSIGNALED(status) ? "crash: signal " + std::to_string(WTERMSIG(status))
                                                 : "crash: exit " + std::to_string(WEXITSTATUS(status));
    report.failure->trace = board.trace.data();
    report.failure->switches.assign(board.kept.begin(), board.kept.begin() + board.switches);
    return report;
}

}  // namespace penumbra::test::sim
