#include "vmm/machine_adapter.hpp"

#include <sys/resource.h>

#include "base/assert.hpp"
#include "vmm/collect.hpp"

namespace penumbra::vmm {

namespace {

RunState run_state(MachineState state) {
    switch (state) {
        case MachineState::prelaunch:
            return RunState::prelaunch;
        case MachineState::running:
            return RunState::running;
        case MachineState::paused:
            return RunState::paused;
        case MachineState::io_error:
            return RunState::io_error;
        case MachineState::ended:
            return RunState::shutdown;
    }
    assertion_failed("known state", __FILE__, __LINE__, "a machine state without a name");
}

double seconds(const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

}  // namespace

ControlStatus MachineAdapter::status() const {
    const MachineStatus status = machine_.status();
    return {run_state(status.state),
            status.all_parked,
            status.error ? status.error->message() : "",
            status.exit_status,
            status.guest_end == GuestEnd::reset,
            status.guest_resets};
}

std::string MachineAdapter::report_json() {
    RunReport report = collect_report(machine_);
    const ControlStatus now = status();
    report.outcome = now.error.empty() ? std::string(name_of(now.state)) : "io-error: " + now.error;
    report.elapsed_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    report.cpu_user_s = seconds(usage.ru_utime);
    report.cpu_system_s = seconds(usage.ru_stime);
    return to_json(report);
}

EvictPass MachineAdapter::evict_pass() {
    const MemorySystem::SweepResult result = machine_.memory().evict_everything();
    return {result.taken, result.was_out, result.kept};
}

std::expected<DirtyLogAnswer, std::string> MachineAdapter::dirty_log(DirtyLogAction action) {
    mmu::DeviceTable* const table = machine_.memory().device_table();
    if (table == nullptr) return std::unexpected{"This machine has no accelerator, see --accel"};
    if (table->logs_writes() == (action == DirtyLogAction::start)) {
        return std::unexpected{action == DirtyLogAction::start ? "The dirty log is on already"
                                                               : "The dirty log is off"};
    }
    DirtyLogAnswer answer;
    switch (action) {
        case DirtyLogAction::start:
            machine_.memory().begin_device_log();
            break;
        case DirtyLogAction::stop:
            machine_.memory().end_device_log();
            break;
        case DirtyLogAction::take: {
            const mmu::DeviceTable::DirtyPages taken = machine_.memory().take_device_log(DirtyLogAnswer::most_ranges);
            answer.pages = taken.pages;
            answer.more = taken.more;
            for (const GfnRange& range : taken.ranges) {
                answer.ranges.push_back({address_of(range.first()).value(), range.pages()});
            }
            break;
        }
    }
    return answer;
}

}  // namespace penumbra::vmm
