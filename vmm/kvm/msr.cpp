#include "vmm/kvm/msr.hpp"

#include <algorithm>
#include <memory>

#include "vmm/kvm/ioctl.hpp"
#include "vmm/kvm/kvm_layout.hpp"

namespace penumbra::vmm::msr {

namespace {

using Table = kvm_layout::MsrTable;

/// KVM works a table off until it meets an entry it refuses, and says how far it came. `done` is told each stretch it
/// took, `refused` each entry it did not.
template <class Done, class Refused>
Result<> work_off(int fd, unsigned long request, std::span<const Value> values, Done&& done, Refused&& refused) {
    auto table = std::make_unique<Table>();
    while (!values.empty()) {
        const auto some = values.first(std::min(values.size(), table->entries.size()));
        table->header = {static_cast<std::uint32_t>(some.size()), 0};
        for (std::size_t i = 0; i < some.size(); ++i) table->entries[i] = {some[i].index, 0, some[i].value};
        const int count = ioctl_retry(fd, request, table.get());
        if (count < 0) return fail_errno("read or set the model-specific registers of a vCPU");
        const auto taken = std::min(static_cast<std::size_t>(count), some.size());
        done(std::span<const kvm_msr_entry>(table->entries).first(taken));
        if (taken < some.size()) refused(some[taken]);
        values = values.subspan(std::min(taken + 1, some.size()));
    }
    return {};
}

}  // namespace

Result<std::vector<Value>> read(int vcpu_fd, std::span<const std::uint32_t> indices) {
    std::vector<Value> wanted;
    for (const std::uint32_t index : indices) wanted.push_back({index, 0});
    std::vector<Value> found;
    const auto keep = [&](std::span<const kvm_msr_entry> entries) {
        for (const kvm_msr_entry& entry : entries) found.push_back({entry.index, entry.data});
    };
    PENUMBRA_TRY(work_off(vcpu_fd, kvm_layout::get_msrs, wanted, keep, [](const Value&) {}));
    return found;
}

Result<std::vector<Value>> write(int vcpu_fd, std::span<const Value> values) {
    std::vector<Value> refused;
    PENUMBRA_TRY(work_off(
        vcpu_fd, kvm_layout::set_msrs, values, [](std::span<const kvm_msr_entry>) {},
        [&](const Value& value) { refused.push_back(value); }));
    return refused;
}

}  // namespace penumbra::vmm::msr
