#include "vmm/run.hpp"

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "vmm/collect.hpp"
#include "vmm/control/cli.hpp"
#include "vmm/control/qmp/server.hpp"
#include "vmm/control/terminal.hpp"
#include "vmm/machine.hpp"
#include "vmm/machine_adapter.hpp"

namespace penumbra::vmm {

namespace {

using Clock = std::chrono::steady_clock;

/// Signals that a run reacts to, taken by the main thread only; blocked before any other thread is made.
class Signals {
public:
    Signals() {
        sigemptyset(&set_);
        for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGCONT}) sigaddset(&set_, signal);
        ::pthread_sigmask(SIG_BLOCK, &set_, nullptr);
    }
    /// The next signal, or 0 after `patience`.
    [[nodiscard]] int next(std::chrono::milliseconds patience) const {
        const timespec limit{patience.count() / 1000, (patience.count() % 1000) * 1'000'000};
        const int signal = ::sigtimedwait(&set_, nullptr, &limit);
        return signal < 0 ? 0 : signal;
    }

private:
    sigset_t set_{};
};

/// Console and progress share the terminal. Only the main thread writes, so that a reader who is slow to take our lines
/// holds up no vCPU.
class Screen {
public:
    Screen() : progress_(Progress::on(stderr)) {}

    /// Any thread. Lines beyond the limit are counted instead of kept.
    void line(std::string_view text) EXCLUDES(mutex_) {
        const MutexLock lock(mutex_);
        if (lines_.size() < most_lines) {
            lines_.emplace_back(text);
        } else {
            ++dropped_;
        }
    }
    void progress(const ProgressState& state) {
        print_lines();
        progress_.update(state);
    }
    void finish() {
        print_lines();
        progress_.finish();
    }

private:
    static constexpr std::size_t most_lines = 1000;

    void print_lines() EXCLUDES(mutex_) {
        std::vector<std::string> lines;
        std::uint64_t dropped = 0;
        {
            const MutexLock lock(mutex_);
            lines.swap(lines_);
            dropped = std::exchange(dropped_, 0);
        }
        if (!lines.empty()) progress_.finish();
        for (const std::string& line : lines) std::fprintf(stderr, "%s\n", line.c_str());
        if (dropped > 0)
            std::fprintf(stderr, "penumbra: %llu more lines were dropped\n", static_cast<unsigned long long>(dropped));
    }

    Mutex mutex_{LockRank::report};
    std::vector<std::string> lines_ GUARDED_BY(mutex_);
    std::uint64_t dropped_ GUARDED_BY(mutex_) = 0;
    Progress progress_;
};

class Run {
public:
    Run(Machine& machine, Screen& screen, const Signals& signals)
        : machine_(machine), screen_(screen), signals_(signals) {}

    void until_the_end() {
        const std::chrono::seconds time = machine_.options().time;
        const auto soft = Clock::now() + time;
        while (machine_.status().state != MachineState::ended) {
            const int signal = signals_.next(std::chrono::milliseconds{100});
            if (signal == SIGINT || signal == SIGTERM || signal == SIGHUP) {
                interrupted_ = true;
                machine_.end();
                return;
            }
            if (signal == SIGCONT && machine_.status().state == MachineState::io_error) machine_.resume();
            screen_.progress(collect_progress(machine_));
            tell_io_error();
            if (time.count() == 0 || Clock::now() < soft) continue;
            if (machine_.status().state == MachineState::io_error) return machine_.end();
            machine_.finish_early();
        }
    }

    [[nodiscard]] bool interrupted() const { return interrupted_; }

private:
    /// Says once per error why the machine stands still, and what makes it go on.
    void tell_io_error() {
        const MachineStatus status = machine_.status();
        const bool stopped = status.state == MachineState::io_error && status.error;
        if (stopped && !told_) {
            screen_.line("penumbra: machine paused: " + status.error->message());
            const std::string cont = machine_.options().qmp_path.empty() ? "" : "`cont` on the control socket or ";
            screen_.line("penumbra: nothing is lost; once the cause is gone, " + cont + "`kill -CONT " +
                         std::to_string(::getpid()) + "` goes on, SIGINT ends the run");
        }
        told_ = stopped;
    }

    Machine& machine_;
    Screen& screen_;
    const Signals& signals_;
    bool interrupted_ = false;
    bool told_ = false;
};

double seconds(const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6; }

void judge(RunReport& report, const MachineStatus& status, bool interrupted) {
    const auto stale = [](const auto& table) { return table.second.stale_faults != 0; };
    const bool quit = !status.error && !status.exit_status;  // neither the guest nor a failure ended it
    if (interrupted || quit) {
        report.outcome = "interrupted";
    } else if (status.error) {
        report.outcome = "io-error: " + status.error->message();
    } else if (status.exit_status != std::uint64_t{0} || report.guest.mismatches + report.accelerator.mismatches != 0) {
        report.outcome = "mismatch";
    } else if (report.memory.pinned_bytes != 0) {
        report.outcome = "mismatch: guest memory is pinned";
    } else if (std::any_of(report.tables.begin(), report.tables.end(), stale)) {
        report.outcome = "mismatch: a stale table entry was used";
    }
}

int finish(const RunOptions& options, const RunReport& report) {
    if (!options.json_path.empty()) {
        if (const Result<> written = write_report(options.json_path, report); !written) {
            print_error(written.error());
            return static_cast<int>(ExitStatus::failed_check);
        }
    }
    std::fputs(closing_table(report, colour_for(stdout)).c_str(), stdout);
    return static_cast<int>(report.outcome == "ok" ? ExitStatus::good : ExitStatus::failed_check);
}

}  // namespace

int run_machine(const RunOptions& options) {
    const ThreadRoleScope role(ThreadRole::vmm);
    const Signals signals;
    Screen screen;
    Result<std::unique_ptr<Machine>> machine =
        Machine::create(options, [&](std::string_view line) { screen.line(line); });
    if (!machine) {
        print_error(machine.error());
        return static_cast<int>(ExitStatus::bad_use);
    }
    const auto begin = Clock::now();
    if (const Result<> started = (*machine)->start(); !started) {
        print_error(started.error());
        return static_cast<int>(ExitStatus::bad_use);
    }
    MachineAdapter control(**machine, begin);
    Result<std::unique_ptr<QmpServer>> server;
    if (!options.qmp_path.empty()) server = QmpServer::start(options.qmp_path, control);
    if (!server) {
        print_error(server.error());
        return static_cast<int>(ExitStatus::bad_use);
    }
    Run run(**machine, screen, signals);
    run.until_the_end();
    server->reset();
    screen.finish();

    RunReport report = collect_report(**machine);
    report.elapsed_s = std::chrono::duration<double>(Clock::now() - begin).count();
    const MachineStatus status = (*machine)->status();
    machine->reset();
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    report.cpu_user_s = seconds(usage.ru_utime);
    report.cpu_system_s = seconds(usage.ru_stime);
    judge(report, status, run.interrupted());
    if (status.error && report.outcome != "interrupted") print_error(*status.error);
    return finish(options, report);
}

}  // namespace penumbra::vmm
