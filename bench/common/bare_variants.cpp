#include "bench/common/bare_variants.hpp"

namespace penumbra::bench {

std::vector<BareLoopOptions> bare_loops(LoopSet set) {
    std::vector<BareLoopOptions> loops{{"bare_same_cpu", Placement::faulting_cpu, Waiting::read, Filling::copy},
                                       {"bare_anywhere", Placement::anywhere, Waiting::read, Filling::copy},
                                       {"bare_spinning", Placement::other_cpu, Waiting::spin, Filling::copy}};
    if (set == LoopSet::with_experiments) {
        loops.push_back({"bare_same_cpu_poll", Placement::faulting_cpu, Waiting::poll, Filling::copy});
        loops.push_back({"bare_same_cpu_move", Placement::faulting_cpu, Waiting::read, Filling::move});
        loops.push_back({"bare_anywhere_poll", Placement::anywhere, Waiting::poll, Filling::copy});
        loops.push_back({"bare_spinning_move", Placement::other_cpu, Waiting::spin, Filling::move});
    }
    return loops;
}

std::string settings_of(const BareLoopOptions& options) {
    const char* waiting = options.waiting == Waiting::read   ? "blocking read"
                          : options.waiting == Waiting::poll ? "read, poll, read"
                                                             : "reads in a row";
    const char* placement = options.placement == Placement::faulting_cpu ? "on the faulting CPU"
                            : options.placement == Placement::other_cpu  ? "on the other CPU"
                                                                         : "unpinned";
    const char* filling = options.filling == Filling::copy ? "UFFDIO_COPY" : "UFFDIO_MOVE";
    return std::string{waiting} + " " + placement + ", " + filling + " of the payload page";
}

}  // namespace penumbra::bench
