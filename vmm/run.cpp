#include "vmm/run.hpp"

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "vmm/collect.hpp"
#include "vmm/control/cli.hpp"
#include "vmm/control/console/host_console.hpp"
#include "vmm/control/qmp/server.hpp"
#include "vmm/control/terminal.hpp"
#include "vmm/machine.hpp"
#include "vmm/machine_adapter.hpp"
#include "vmm/run_screen.hpp"

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

class Run {
public:
    Run(Machine& machine, Screen& screen, const Signals& signals, HostConsole* console)
        : machine_(machine), screen_(screen), signals_(signals), console_(console) {}

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
            if (signal == SIGCONT) go_on();
            show();
            tell_io_error();
            if (time.count() != 0 && Clock::now() >= soft) time_is_over(Clock::now() - soft);
        }
    }

    [[nodiscard]] bool interrupted() const { return interrupted_; }

private:
    /// A Linux guest's console has the terminal to itself.
    void show() {
        if (console_ != nullptr) return screen_.print_lines();
        screen_.progress(collect_progress(machine_));
    }

    void go_on() {
        if (console_ != nullptr) console_->continued();
        if (machine_.status().state == MachineState::io_error) machine_.resume();
    }

    void time_is_over(Clock::duration since) {
        constexpr std::chrono::seconds power_off_patience{10};
        if (machine_.status().state == MachineState::io_error) return machine_.end();
        if (console_ == nullptr) return machine_.finish_early();
        if (!asked_) machine_.finish_early();
        asked_ = true;
        if (since > power_off_patience) machine_.end();
    }

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
    HostConsole* const console_;
    bool interrupted_ = false;
    bool told_ = false;
    bool asked_ = false;
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
    } else if (status.guest_end == GuestEnd::reset) {
        report.outcome = "reset";
    }
}

int bad_use(const Error& error) {
    print_error(error);
    return static_cast<int>(ExitStatus::bad_use);
}

int finish(const RunOptions& options, const RunReport& report) {
    if (!options.json_path.empty()) {
        if (const Result<> written = write_report(options.json_path, report); !written) {
            print_error(written.error());
            return static_cast<int>(ExitStatus::failed_check);
        }
    }
    // Standard output is a Linux guest's console: whoever reads it expects nothing else there.
    if (!options.runs_linux()) {
        std::fputs(closing_table(report, colour_for(stdout)).c_str(), stdout);
    } else if (report.outcome.starts_with("mismatch")) {
        std::fprintf(stderr, "penumbra: %s\n", report.outcome.c_str());
    }
    return static_cast<int>(went_well(report) ? ExitStatus::good : ExitStatus::failed_check);
}

/// Ends the console's thread, and with it the last use of the machine's port.
void close_console(HostConsole* console) {
    if (console == nullptr) return;
    constexpr std::chrono::seconds patience{2};
    if (const std::uint64_t lost = console->end(patience); lost > 0) {
        std::fprintf(stderr, "penumbra: %llu bytes of the guest's console were lost: nobody took them\n",
                     static_cast<unsigned long long>(lost));
    }
}

/// The user pressed the key that ends the run: as if by SIGINT, on whatever thread.
void send_interrupt() { ::kill(::getpid(), SIGINT); }

RunReport report_of(Machine& machine, Clock::time_point begin) {
    RunReport report = collect_report(machine);
    report.elapsed_s = std::chrono::duration<double>(Clock::now() - begin).count();
    return report;
}

void add_cpu_time(RunReport& report) {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    report.cpu_user_s = seconds(usage.ru_utime);
    report.cpu_system_s = seconds(usage.ru_stime);
}

}  // namespace

int run_machine(const RunOptions& options) {
    const ThreadRoleScope role(ThreadRole::vmm);
    const Signals signals;
    Screen screen;
    std::unique_ptr<HostConsole> console;
    if (options.runs_linux()) {
        Result<std::unique_ptr<HostConsole>> made = HostConsole::create({STDIN_FILENO, STDOUT_FILENO, send_interrupt});
        if (!made) return bad_use(made.error());
        console = std::move(*made);
    }
    Result<std::unique_ptr<Machine>> machine =
        Machine::create(options, [&](std::string_view line) { screen.line(line); }, console.get());
    if (!machine) {
        console.reset();
        return bad_use(machine.error());
    }
    const auto begin = Clock::now();
    MachineAdapter control(**machine, begin);
    Result<std::unique_ptr<QmpServer>> server;
    Result<> started = (*machine)->start();
    if (started && !options.qmp_path.empty()) {
        server = QmpServer::start(options.qmp_path, control);
        if (!server) started = std::unexpected{server.error()};
    }
    if (!started) {
        machine->reset();
        console.reset();
        return bad_use(started.error());
    }
    if (console && (*machine)->console_port() != nullptr) console->connect(*(*machine)->console_port());

    Run run(**machine, screen, signals, console.get());
    run.until_the_end();
    server->reset();
    close_console(console.get());
    screen.finish();
    RunReport report = report_of(**machine, begin);
    const MachineStatus status = (*machine)->status();
    machine->reset();
    add_cpu_time(report);
    judge(report, status, run.interrupted());
    if (status.error && report.outcome != "interrupted") print_error(*status.error);
    return finish(options, report);
}

}  // namespace penumbra::vmm
