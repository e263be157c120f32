#include "bench/common/environment.hpp"

#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <string>

namespace penumbra::bench {

namespace {

std::string processor() {
    std::ifstream file{"/proc/cpuinfo"};
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
    }
    return "unknown";
}

std::string kvm_module() {
    for (const char* name : {"kvm_intel", "kvm_amd", "kvm_pvm"}) {
        if (::access((std::string{"/sys/module/"} + name).c_str(), F_OK) == 0) return name;
    }
    return ::access("/dev/kvm", F_OK) == 0 ? "built in" : "none";
}

}  // namespace

boost::json::object environment() {
    boost::json::object facts;
    utsname host{};
    (void)::uname(&host);
    double load = 0;
    (void)::getloadavg(&load, 1);
    facts["kernel"] = host.release;
    facts["processor"] = processor();
    facts["cpus"] = ::get_nprocs();
    facts["memory_mib"] = static_cast<std::int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE) >> 20;
    facts["kvm_module"] = kvm_module();
    facts["load_average_1min"] = std::round(load * 100) / 100;
    return facts;
}

}  // namespace penumbra::bench
