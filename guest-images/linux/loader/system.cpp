#include "guest-images/linux/loader/system.hpp"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

namespace penumbra::loader {

std::unexpected<std::string> failed(const std::string& act) {
    const int error = errno;
    return std::unexpected("cannot " + act + ": " + std::strerror(error));
}

File::~File() {
    if (fd_ >= 0) ::close(fd_);
}

std::string small_file(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

Outcome<> load_modules(const std::string& list) {
    std::ifstream names("/lib/modules/" + list);
    std::string name;
    while (std::getline(names, name)) {
        const File file(::open(("/lib/modules/" + name).c_str(), O_RDONLY | O_CLOEXEC));
        if (!file) return failed("open module " + name);
        // A module's devices are there when this returns: these drivers probe where they are loaded.
        if (::syscall(SYS_finit_module, file.get(), "", 0) != 0 && errno != EEXIST)
            return failed("load module " + name);
    }
    return {};
}

}  // namespace penumbra::loader
