#include "bench/common/paging_child.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <sstream>
#include <utility>
#include <vector>

#include "bench/common/kernel_files.hpp"

namespace penumbra::bench {

namespace {

constexpr int child_list = 3;
constexpr int refresh_ms = 20;
constexpr int patience_ms = 120'000;

/// Starts this program again; 0 or an errno.
int spawn_self(const std::vector<std::string>& arguments, pid_t& child, int input, int output, int list) {
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, list, child_list);
    posix_spawnattr_t attributes;
    ::posix_spawnattr_init(&attributes);
    sigset_t none;
    ::sigemptyset(&none);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    std::string program = "/proc/self/exe";
    std::vector<std::string> words = arguments;
    std::vector<char*> argv{program.data()};
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    const int failed = ::posix_spawn(&child, program.c_str(), &actions, &attributes, argv.data(), environ);
    ::posix_spawnattr_destroy(&attributes);
    ::posix_spawn_file_actions_destroy(&actions);
    return failed;
}

}  // namespace

Result<std::unique_ptr<PagingChild>> PagingChild::start(PagingSideOptions side, const MemoryCgroupOptions& cgroup,
                                                        const Interrupts& interrupts) {
    const bool kernel = side.budget_bytes == 0;
    PENUMBRA_TRY_ASSIGN(MemoryCgroup group, MemoryCgroup::create(kernel ? "kernel" : "penumbra", cgroup));
    std::unique_ptr<PagingChild> child(new PagingChild(std::move(group), interrupts));
    PENUMBRA_TRY(child->spawn(std::move(side)));
    PENUMBRA_TRY_ASSIGN(const std::string line, child->next_line());
    if (line != "ready") return fail("understand", "a part of the benchmark");
    return child;
}

Result<> PagingChild::spawn(PagingSideOptions side) {
    const UniqueFd list{::memfd_create("touch-list", MFD_CLOEXEC)};
    if (!list || ::ftruncate(list.get(), static_cast<off_t>(touch_list_bytes)) != 0) {
        return fail_errno("make", "a list of touches");
    }
    PENUMBRA_TRY_ASSIGN(list_, MappedRegion::shared_file(list.get(), touch_list_bytes, 0, MapAccess::read_write));
    std::array<int, 2> orders{};
    if (::pipe2(orders.data(), O_CLOEXEC) != 0) return fail_errno("make a pipe");
    const UniqueFd child_input{orders[0]};
    to_.reset(orders[1]);
    std::array<int, 2> answers{};
    if (::pipe2(answers.data(), O_CLOEXEC) != 0) return fail_errno("make a pipe");
    from_.reset(answers[0]);
    const UniqueFd child_output{answers[1]};
    side.list = child_list;
    side.cgroup = cgroup_.folder();
    errno = spawn_self(side.arguments(), child_, child_input.get(), child_output.get(), list.get());
    if (errno != 0) return fail_errno("start", "a child process");
    return {};
}

PagingChild::~PagingChild() {
    if (child_ <= 0) return;
    (void)::kill(child_, SIGKILL);
    while (::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
    }
}

Result<std::string> PagingChild::next_line() {
    for (int waited_ms = 0; waited_ms < patience_ms;) {
        if (const auto end = read_.find('\n'); end != std::string::npos) {
            std::string line = read_.substr(0, end);
            read_.erase(0, end + 1);
            return line;
        }
        PENUMBRA_TRY_ASSIGN(const Interrupts::Waited waited, interrupts_.wait_for(from_.get(), refresh_ms));
        if (waited == Interrupts::Waited::timed_out) {
            waited_ms += refresh_ms;
            cgroup_.refresh_counts();
            continue;
        }
        std::array<char, 512> buffer;
        const ssize_t got = ::read(from_.get(), buffer.data(), buffer.size());
        if (got <= 0) return fail("go on", "without a part of the benchmark, which has ended");
        read_.append(buffer.data(), static_cast<std::size_t>(got));
    }
    return fail("wait any longer for", "a part of the benchmark");
}

Result<PagingRound> PagingChild::run(const PagingTask& task, std::uint32_t round) {
    const char* const vmstat = "/proc/vmstat";
    lists_.fill(*reinterpret_cast<abi::TouchList*>(list_.data()), task.pattern, task.kind, task.touches, round);
    PENUMBRA_TRY_ASSIGN(const std::uint64_t swapped_in, read_counter(vmstat, "pswpin"));
    const double reclaim_threads = reclaim_thread_seconds();
    const char order = '\n';
    if (::write(to_.get(), &order, 1) != 1) return fail_errno("talk to", "a part of the benchmark");
    PENUMBRA_TRY_ASSIGN(const std::string line, next_line());
    PagingRound figures;
    if (!(std::istringstream{line} >> figures)) return fail("understand", "a part of the benchmark");
    figures.cpu.system += reclaim_thread_seconds() - reclaim_threads;
    PENUMBRA_TRY_ASSIGN(const std::uint64_t swapped_in_after, read_counter(vmstat, "pswpin"));
    figures.counts.swap_ins += swapped_in_after - swapped_in;
    if (figures.mismatches != 0) {
        return fail("find what was written in", std::to_string(figures.mismatches) + " touches, first of page " +
                                                    std::to_string(figures.first_bad));
    }
    return figures;
}

}  // namespace penumbra::bench
