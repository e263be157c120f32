// The device's page requests: each must have a cause in what was taken from the process, and is answered by giving that
// back, or by a refusal, which the command must then tell.
#pragma once

#include <cstdint>

#include "guest-images/common/svm_changes.hpp"

namespace penumbra::guest {

/// Entries that lack rights, and who asks for them. For the vCPU that changes tables.
template <class Platform>
class SvmRequests {
public:
    SvmRequests(SvmShared<Platform>& shared, SvmRing<Platform>& ring, SvmChanges<Platform>& changes, std::uint64_t seed)
        : shared_(shared), world_(shared.world()), ring_(ring), changes_(changes), random_(seed) {}

    [[nodiscard]] bool any() const { return world_.dropped != 0; }
    /// At most one entry on the way to a page, besides its own, lacks rights.
    [[nodiscard]] bool may_drop(const SvmPlace& at) const {
        if (world_.dropped == svm_most_drops) return false;
        for (std::uint32_t i = 0; i < world_.dropped; ++i) {
            const SvmPlace& other = world_.drops[i].at;
            const bool same_level = (other.level == 1) == (at.level == 1);
            if (other.process == at.process && same_level && (at.level != 1 || other.page == at.page)) return false;
        }
        return true;
    }
    /// Takes one right from an entry.
    void drop(const SvmPlace& at) {
        const std::uint64_t taken = std::uint64_t{1} << random_.below(3);
        world_.drops[world_.dropped++] = {at, svm_chain(world_.processes, at).used[1]};
        changes_.set_rights(at, svm_all_rights & ~taken);
    }
    /// Whether the oldest can be given back now.
    [[nodiscard]] bool may_restore() { return changes_.possible(world_.drops[0].at); }
    void restore_oldest() { restore(0); }

    /// Answers the newest request, if there is a new one.
    void poll() {
        auto* const queue =
            reinterpret_cast<abi::AccelPageRequest*>(shared_.platform().ram(shared_.layout().request_queue()));
        const abi::AccelPageRequest& request = queue[(answered_ + 1) % abi::page_request_entries];
        if (svm_load(request.number) != answered_ + 1) return;
        ++answered_;
        serve(request);
    }

private:
    static constexpr std::uint64_t protection = 1;
    static constexpr std::uint64_t write = 2;
    static constexpr std::uint64_t user = 4;
    static constexpr std::uint64_t most_repeats = 10'000;  ///< of one command, before its request counts as wrong

    void serve(const abi::AccelPageRequest& request) {
        const std::uint64_t number = ring_.in_hand();
        SvmCommand& command = world_.command(number);
        const std::uint64_t page = (request.address - svm_address(svm_forms[command.process], 0)) / page_bytes;
        repeats_ = number == last_ ? repeats_ + 1 : 0;
        last_ = number;
        const bool right = number < svm_load(world_.submitted) && is_of(request, command, page) &&
                           has_cause(request, number, command, page) && repeats_ < most_repeats;
        if (!right) {
            shared_.complain(shared_.layout().request_queue(), [&](TextLine& text) {
                text.text("page request without a cause: PASID ").number(request.pasid).text(" address ");
                text.hex(request.address).text(" error ").hex(request.error_code).text(" command ").number(number);
            });
            return refuse(request, command);
        }
        const auto at_page = static_cast<std::uint32_t>(page);
        const std::uint32_t active = world_.processes[command.process].active;
        const bool by_other_root = !changes_.is_over_switch(command.process) && is_denied(command, 1 - active, at_page);
        // What the other root lacks is not given back while the command may work by it: the log is the active one's.
        if (by_other_root || (is_denied(command, active, at_page) && random_.below(4) == 0)) {
            return refuse(request, command);
        }
        restore_way(command.process, at_page);
        svm_store(world_.counts.restored, world_.counts.restored + 1);
        ring_.answer(request.number, true);
    }
    void refuse(const abi::AccelPageRequest& request, SvmCommand& command) {
        svm_store(command.failed, request.address + 1);
        svm_store(world_.counts.refused, world_.counts.refused + 1);
        ring_.answer(request.number, false);
    }

    [[nodiscard]] static bool is_of(const abi::AccelPageRequest& request, const SvmCommand& command,
                                    std::uint64_t page) {
        const bool writes = (request.error_code & write) != 0;
        return command.works() && request.pasid == svm_forms[command.process].pasid && page >= command.first &&
               page < command.first + command.pages && writes == (command.access() == SvmAccess::write) &&
               (request.error_code & ~(protection | write)) == user;
    }
    /// Whether the command may have found the page as the error code says.
    [[nodiscard]] bool has_cause(const abi::AccelPageRequest& request, std::uint64_t number, const SvmCommand& command,
                                 std::uint64_t page) {
        const bool present = (request.error_code & protection) != 0;
        return world_.processes[command.process].log[page].any_for(number, [&](const SvmVersion& seen) {
            return !svm_permits(seen.rights, command.access()) && ((seen.rights & svm_present) != 0) == present;
        });
    }
    [[nodiscard]] bool is_denied(const SvmCommand& command, std::uint32_t root, std::uint32_t page) {
        return !svm_permits(svm_rights(world_.processes, command.process, root, page), command.access());
    }
    /// Gives back all that the way to a page lacks.
    void restore_way(std::uint32_t process, std::uint32_t page) {
        for (std::uint32_t i = world_.dropped; i-- != 0;) {
            const SvmPlace& at = world_.drops[i].at;
            const bool covers = at.process == process && page - at.first() < at.pages();
            if (covers && svm_is_active(world_.processes, at) && is_in_use(world_.drops[i])) restore(i);
        }
    }

    [[nodiscard]] bool is_in_use(const SvmDrop& drop) {
        return drop.at.level != 1 || svm_chain(world_.processes, drop.at).used[1] == drop.which;
    }
    void restore(std::uint32_t number) {
        const SvmDrop drop = world_.drops[number];
        for (std::uint32_t i = number + 1; i < world_.dropped; ++i) world_.drops[i - 1] = world_.drops[i];
        --world_.dropped;
        if (is_in_use(drop)) {
            changes_.set_rights(drop.at, svm_all_rights);
        } else {
            changes_.restore_unused(drop.at, drop.which);
        }
    }

    SvmShared<Platform>& shared_;
    SvmWorld& world_;
    SvmRing<Platform>& ring_;
    SvmChanges<Platform>& changes_;
    Random random_;
    std::uint64_t answered_ = 0;
    std::uint64_t last_ = svm_never;
    std::uint64_t repeats_ = 0;
};

}  // namespace penumbra::guest
