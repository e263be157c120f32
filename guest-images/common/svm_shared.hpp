// What the parts of the svm image use together: the world, meeting points, complaints, the report.
#pragma once

#include <cstdint>

#include "guest-images/common/svm_world.hpp"
#include "guest-images/common/text_line.hpp"

namespace penumbra::guest {

/// One per vCPU. `Platform` is that of svm_core.hpp.
template <class Platform>
class SvmShared {
public:
    static constexpr std::uint64_t complaint_limit = 16;

    SvmShared(Platform& platform, const abi::BootInfo& boot, const SvmLayout& layout)
        : platform_(platform),
          boot_(boot),
          layout_(layout),
          world_(*reinterpret_cast<SvmWorld*>(platform.ram(layout.world()))) {}

    [[nodiscard]] Platform& platform() { return platform_; }
    [[nodiscard]] const abi::BootInfo& boot() const { return boot_; }
    [[nodiscard]] const SvmLayout& layout() const { return layout_; }
    [[nodiscard]] SvmWorld& world() { return world_; }
    [[nodiscard]] abi::SvmMode mode() const { return static_cast<abi::SvmMode>(boot_.svm_mode); }

    /// Every vCPU waits here for all others.
    void barrier() {
        const std::uint64_t round = svm_load(world_.round);
        if (__atomic_add_fetch(&world_.arrived, 1, __ATOMIC_ACQ_REL) == boot_.cpus) {
            world_.arrived = 0;
            svm_store(world_.round, round + 1);
            return;
        }
        while (svm_load(world_.round) == round) platform_.relax();
    }

    [[nodiscard]] TextLine line() { return {platform_.ram(layout_.line(platform_.cpu())), SvmLayout::line_bytes}; }
    void say() { port_write(abi::Port::console, layout_.line(platform_.cpu())); }
    /// Counts a mismatch; the first few have a line each, which `fill(line)` writes.
    template <class Fill>
    void complain(std::uint64_t gpa, Fill&& fill) {
        __atomic_fetch_add(&world_.mismatches, 1, __ATOMIC_RELAXED);
        std::uint64_t none = 0;
        __atomic_compare_exchange_n(&world_.first_bad, &none, gpa + 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
        if (__atomic_fetch_add(&world_.complaints, 1, __ATOMIC_RELAXED) >= complaint_limit) return;
        TextLine text = line();
        fill(text);
        say();
    }
    /// The same of something found at a place where something else ought to be.
    void complain_of(const char* what, std::uint64_t gpa, std::uint64_t found, std::uint64_t expected) {
        complain(gpa, [&](TextLine& text) {
            text.text(what).text(" at gpa ").hex(gpa).text(": ").hex(found).text(", expected ").hex(expected);
        });
    }

    /// Costs an exit.
    [[nodiscard]] bool wants_to_finish() {
        return platform_.mmio_read(abi::guest_port_base + static_cast<std::uint64_t>(abi::Port::finish_early)) != 0;
    }
    /// Hands the totals to the VMM; vCPU 0 only.
    void publish(std::uint64_t verifications) {
        const SvmCounts& counts = world_.counts;
        abi::Report report{};
        report.pages_total = layout_.filler_pages() + svm_data_pages;
        report.pages_verified = svm_load(world_.filler_verified) + svm_load(counts.data_verified);
        report.mismatches = svm_load(world_.mismatches);
        report.work_done = counts.changes();
        report.work_total = boot_.svm_changes;
        report.accelerator_sums = counts.sums;
        report.first_bad_gpa = world_.first_bad == 0 ? 0 : world_.first_bad - 1;
        report.passes = verifications;
        report.min_verifications = verifications;
        report.svm = {counts.changes(),
                      svm_load(counts.in_use),
                      counts.commands,
                      counts.bytes,
                      svm_load(counts.restored) + svm_load(counts.refused),
                      svm_load(counts.announced),
                      counts.empty};
        __builtin_memcpy(platform_.ram(layout_.report()), &report, sizeof(report));
        port_write(abi::Port::report, layout_.report());
    }

private:
    void port_write(abi::Port port, std::uint64_t value) {
        platform_.mmio_write(abi::guest_port_base + static_cast<std::uint64_t>(port), value);
    }

    Platform& platform_;
    const abi::BootInfo& boot_;
    const SvmLayout& layout_;
    SvmWorld& world_;
};

}  // namespace penumbra::guest
