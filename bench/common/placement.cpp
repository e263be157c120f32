#include "bench/common/placement.hpp"

#include <dirent.h>

#include <cstdlib>
#include <fstream>
#include <memory>

namespace penumbra::bench {

pid_t thread_named(const std::string& name) {
    const std::unique_ptr<DIR, decltype([](DIR* d) { ::closedir(d); })> folder{::opendir("/proc/self/task")};
    while (const dirent* entry = folder ? ::readdir(folder.get()) : nullptr) {
        std::string comm;
        std::ifstream{std::string{"/proc/self/task/"} + entry->d_name + "/comm"} >> comm;
        if (comm == name) return std::atoi(entry->d_name);
    }
    return -1;
}

}  // namespace penumbra::bench
