#include "bench/common/kernel_files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <sstream>

#include "base/unique_fd.hpp"

namespace penumbra::bench {

Result<std::string> read_text(const std::string& path) {
    const UniqueFd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!file) return fail_errno("read", path);
    std::string text;
    std::array<char, 4096> buffer;
    for (;;) {
        const ssize_t got = ::read(file.get(), buffer.data(), buffer.size());
        if (got < 0) return fail_errno("read", path);
        if (got == 0) break;
        text.append(buffer.data(), static_cast<std::size_t>(got));
    }
    if (text.ends_with('\n')) text.pop_back();
    return text;
}

Result<> write_text(const std::string& path, std::string_view text) {
    const UniqueFd file{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
    if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
        return fail_errno("write " + std::string{text} + " to", path);
    }
    return {};
}

Result<std::uint64_t> read_counter(const std::string& path, std::string_view key) {
    PENUMBRA_TRY_ASSIGN(std::string text, read_text(path));
    std::istringstream lines{std::move(text)};
    std::uint64_t value = 0;
    for (std::string name; lines >> name >> value;) {
        if (name == key) return value;
    }
    return fail("find " + std::string{key} + " in", path);
}

double reclaim_thread_seconds() {
    const std::unique_ptr<DIR, decltype([](DIR* d) { ::closedir(d); })> processes{::opendir("/proc")};
    std::uint64_t ticks = 0;
    while (const dirent* entry = processes ? ::readdir(processes.get()) : nullptr) {
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
        const auto text = read_text(std::string{"/proc/"} + entry->d_name + "/stat");
        if (!text) continue;  // it has ended
        if (text->find("(kswapd") == std::string::npos && text->find("(kcompactd") == std::string::npos) continue;
        // proc_pid_stat(5): eleven words lie between the name in brackets and utime, stime.
        std::istringstream words{text->substr(text->rfind(')') + 1)};
        std::string word;
        for (int skipped = 0; skipped < 11; ++skipped) words >> word;
        std::uint64_t user = 0;
        std::uint64_t system = 0;
        words >> user >> system;
        ticks += user + system;
    }
    return static_cast<double>(ticks) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

Result<SavedSetting> SavedSetting::open(std::string path) {
    PENUMBRA_TRY_ASSIGN(std::string old, read_text(path));
    return SavedSetting{std::move(path), std::move(old)};
}

SavedSetting::~SavedSetting() {
    if (!path_.empty() && old_) (void)write_text(path_, *old_);
}

}  // namespace penumbra::bench
