// A machine that does at once what it is asked, and whose state a test can change behind the socket's back.
#pragma once

#include <atomic>
#include <chrono>
#include <string>

#include "base/mutex.hpp"
#include "vmm/control/machine_control.hpp"

namespace penumbra::vmm {

class FakeMachine final : public MachineControl {
public:
    FakeMachine() { set(RunState::running); }

    void pause() override { set(RunState::paused); }
    void resume() override { set(resumed_state); }
    void reset() override { resets.fetch_add(1); }
    void quit() override { set(RunState::shutdown); }
    Button press_power_button() override {
        presses.fetch_add(1);
        return button;
    }
    [[nodiscard]] ControlStatus status() const override {
        const MutexLock lock(mutex_);
        return status_;
    }
    [[nodiscard]] std::string report_json() override { return "{\n  \"outcome\": \"running\"\n}\n"; }
    [[nodiscard]] EvictPass evict_pass() override {
        const MutexLock lock(mutex_);
        pass_begun_ = true;
        changed_.notify_all();
        while (passes_held_) changed_.wait(mutex_);
        return {.taken = 3, .was_out = 2, .kept = 1};
    }

    [[nodiscard]] std::expected<DirtyLogAnswer, std::string> dirty_log(DirtyLogAction action) override {
        if (logs == (action == DirtyLogAction::start)) return std::unexpected{logs ? "on already" : "off"};
        if (action != DirtyLogAction::take) logs = action == DirtyLogAction::start;
        if (action != DirtyLogAction::take) return DirtyLogAnswer{};
        return DirtyLogAnswer{.pages = 4, .ranges = {{0x3000, 1}, {0x1'0000'0000, 3}}, .more = true};
    }

    void set(RunState state, std::string error = {}) {
        const MutexLock lock(mutex_);
        status_.state = state;
        status_.all_parked = state == RunState::paused;
        status_.error = std::move(error);
    }
    void exit_guest() {
        const MutexLock lock(mutex_);
        status_.state = RunState::shutdown;
        status_.exit_status = 0;
    }
    void hold_passes(bool held) {
        const MutexLock lock(mutex_);
        passes_held_ = held;
        changed_.notify_all();
    }
    [[nodiscard]] bool wait_for_pass() {
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{10};
        const MutexLock lock(mutex_);
        while (!pass_begun_) {
            if (!changed_.wait_until(mutex_, deadline)) return pass_begun_;
        }
        return true;
    }

    bool logs = false;
    std::atomic<int> resets{0};
    std::atomic<int> presses{0};
    Button button = Button::pressed;             ///< set before the test begins
    RunState resumed_state = RunState::running;  ///< what comes of resume(); set before the test begins

private:
    mutable Mutex mutex_{LockRank::leaf};
    CondVar changed_;
    ControlStatus status_ GUARDED_BY(mutex_);
    bool passes_held_ GUARDED_BY(mutex_) = false;
    bool pass_begun_ GUARDED_BY(mutex_) = false;
};

}  // namespace penumbra::vmm
