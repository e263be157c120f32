// The machine as its control socket sees it.
#pragma once

#include <chrono>

#include "vmm/control/machine_control.hpp"
#include "vmm/machine.hpp"

namespace penumbra::vmm {

class MachineAdapter final : public MachineControl {
public:
    /// `begin` is when the run began. The machine must outlive this.
    MachineAdapter(Machine& machine, std::chrono::steady_clock::time_point begin) : machine_(machine), begin_(begin) {}

    void pause() override { machine_.pause(); }
    void resume() override { machine_.resume(); }
    void reset() override { machine_.reset(); }
    void quit() override { machine_.end(); }
    Button press_power_button() override {
        return machine_.press_power_button() == Platform::Button::pressed ? Button::pressed : Button::absent;
    }
    [[nodiscard]] ControlStatus status() const override;
    /// The report's outcome is "io-error: CAUSE", or, as long as there is none, the state: "running", "paused", ...
    [[nodiscard]] std::string report_json() override;
    [[nodiscard]] EvictPass evict_pass() override;
    [[nodiscard]] std::expected<DirtyLogAnswer, std::string> dirty_log(DirtyLogAction action) override;

private:
    Machine& machine_;
    const std::chrono::steady_clock::time_point begin_;
};

}  // namespace penumbra::vmm
