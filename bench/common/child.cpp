#include "bench/common/child.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/unique_fd.hpp"

namespace penumbra::bench {

Result<std::string> run_self(const std::vector<std::string>& arguments) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno("make a pipe");
    const UniqueFd from{ends[0]};
    UniqueFd to{ends[1]};
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, to.get(), STDOUT_FILENO);
    std::string program = "/proc/self/exe";
    std::vector<std::string> words = arguments;
    std::vector<char*> argv{program.data()};
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    pid_t child = 0;
    const int failed = ::posix_spawn(&child, program.c_str(), &actions, nullptr, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    to.reset();
    if (failed != 0) {
        errno = failed;
        return fail_errno("start", "a child process");
    }
    std::string answer;
    std::array<char, 4096> buffer;
    for (ssize_t got = 0; (got = ::read(from.get(), buffer.data(), buffer.size())) != 0;) {
        if (got > 0) answer.append(buffer.data(), static_cast<std::size_t>(got));
        if (got < 0 && errno != EINTR) break;
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        return fail("run a part of the benchmark", arguments.empty() ? "" : arguments.back());
    }
    return answer;
}

}  // namespace penumbra::bench
