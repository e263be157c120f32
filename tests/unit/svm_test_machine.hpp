// A machine made of host memory for the svm workload, in one thread: its device does one page of work whenever the
// guest waits or stores an entry, so that every run with a seed is the same.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "guest-images/common/svm_core.hpp"

namespace penumbra::guest {

/// What the device gets wrong.
enum class SvmFault : std::uint8_t {
    none,
    keeps_translations,     ///< as a TLB that nothing invalidates
    keeps_targets,          ///< the same of what it writes
    ignores_announcements,  ///< a TLB that is invalidated by nothing
    permits_all,            ///< rights of entries do not matter
    drops_fills,            ///< one fill in some is not done
    fails_unasked,          ///< ends commands with page_fault without asking the guest
    asks_for_nothing,       ///< asks for pages that are there
    works_on,               ///< a refused page is worked on all the same
    stops,                  ///< a ring error at the first doorbell
};

class SvmTestMachine {
public:
    static constexpr std::uint64_t ram_bytes = 16ULL << 20;

    explicit SvmTestMachine(abi::SvmMode mode, SvmFault fault = SvmFault::none) : fault_(fault) {
        boot.magic = abi::boot_magic;
        boot.low_ram_bytes = ram_bytes;
        boot.image_end = 0x12'3000;
        boot.cpus = 1;
        boot.has_accelerator = 1;
        boot.seed = 42;
        boot.svm_mode = static_cast<std::uint64_t>(mode);
        boot.svm_changes = 2000;
        // Without announcements nothing may be kept.
        caches_ = mode != abi::SvmMode::watch || keeps_;
    }

    abi::BootInfo boot{};
    abi::Report report{};
    std::vector<std::string> console;
    std::uint64_t finish_early = 0;

    std::uint8_t* ram(std::uint64_t gpa) { return reinterpret_cast<std::uint8_t*>(memory_.data()) + gpa; }
    std::uint64_t& word(std::uint64_t gpa) { return *reinterpret_cast<std::uint64_t*>(ram(gpa)); }
    void hear(std::uint64_t gpa) { console.emplace_back(reinterpret_cast<const char*>(ram(gpa)) + 8, word(gpa)); }

    std::uint64_t read(abi::AccelRegister at) {
        if (at == abi::AccelRegister::head) return head_;
        return at == abi::AccelRegister::status ? status_ : 0;
    }
    void write(abi::AccelRegister at, std::uint64_t value) {
        switch (at) {
            case abi::AccelRegister::ring_gpa:
                ring_ = value;
                break;
            case abi::AccelRegister::pasid_table_gpa:
                pasids_ = value;
                break;
            case abi::AccelRegister::request_queue_gpa:
                queue_ = value;
                break;
            case abi::AccelRegister::control:
                status_ = value;
                break;
            case abi::AccelRegister::doorbell:
                tail_ = value;
                if (fault_ == SvmFault::stops) status_ = static_cast<std::uint64_t>(abi::AccelStatus::ring_error);
                break;
            case abi::AccelRegister::request_response:
                answer(value);
                break;
            default:
                break;
        }
    }

    /// The device goes on for one page.
    void tick() {
        if (status_ != 1 || asked_for_ || head_ == tail_) return;
        abi::AccelCommand& slot = *reinterpret_cast<abi::AccelCommand*>(ram(ring_) + head_ % svm_ring_entries * 64);
        if (!begun_) begin(slot);
        if (command_.opcode == static_cast<std::uint32_t>(abi::AccelOpcode::invalidate)) {
            if (fault_ != SvmFault::ignores_announcements) kept_.clear();
            return end(slot, abi::AccelResult::done, 0);
        }
        if (refused_) return end(slot, abi::AccelResult::page_fault, failed_);
        if (done_ < command_.bytes && !work()) return;
        if (done_ < command_.bytes) return;
        end(slot, abi::AccelResult::done, static_cast<std::uint32_t>(~sum_));
    }

private:
    using Key = std::pair<std::uint32_t, std::uint64_t>;
    struct Kept {
        std::uint64_t page;
        std::uint64_t rights;
    };

    void begin(const abi::AccelCommand& slot) {
        command_ = slot;
        root_ = word(pasids_ + command_.pasid * sizeof(abi::PasidEntry));
        if (const auto known = roots_.find(command_.pasid); known != roots_.end() && known->second != root_) {
            if (!keeps_) kept_.clear();
        }
        roots_[command_.pasid] = root_;
        done_ = 0;
        sum_ = svm_sum_start;
        begun_ = true;
        refused_ = false;
        skips_ = fault_ == SvmFault::drops_fills && head_ % 5 == 0;
    }
    void end(abi::AccelCommand& slot, abi::AccelResult result, std::uint64_t value) {
        slot.value = value;
        slot.result = static_cast<std::uint32_t>(result);
        begun_ = false;
        ++head_;
    }
    /// One page of the command; false where it has to wait.
    bool work() {
        const bool fills = command_.opcode == static_cast<std::uint32_t>(abi::AccelOpcode::fill);
        const auto page = translate((fills ? command_.target : command_.source) + done_, fills);
        if (!page) return false;
        if (fills) {
            for (std::uint64_t i = 0; i < page_bytes && !skips_; i += 8) word(*page + i) = command_.source;
        } else if (command_.opcode == static_cast<std::uint32_t>(abi::AccelOpcode::copy)) {
            const auto target = translate(command_.target + done_, true);
            if (!target) return false;
            std::memcpy(ram(*target), ram(*page), page_bytes);
        } else {
            for (std::uint64_t i = 0; i < page_bytes; i += 8) {
                sum_ = static_cast<std::uint32_t>(detail::crc_word(sum_, word(*page + i)));
            }
        }
        done_ += page_bytes;
        return true;
    }

    std::optional<std::uint64_t> translate(std::uint64_t address, bool writes) {
        const SvmAccess access = writes ? SvmAccess::write : SvmAccess::read;
        const Key key{command_.pasid, address / page_bytes};
        if (const auto kept = kept_.find(key); caches_ && kept != kept_.end()) {
            if (svm_permits(kept->second.rights, access)) return kept->second.page;
        }
        const Kept found = walk(address, writes);
        const bool permitted = svm_permits(found.rights, access) || fault_ == SvmFault::permits_all;
        const bool asks = fault_ == SvmFault::asks_for_nothing && head_ % 64 == 63 && done_ == 0 && !spared_;
        spared_ = false;
        if (permitted && !asks) {
            if (writes || fault_ != SvmFault::keeps_targets) kept_[key] = found;
            return found.page;
        }
        if (fault_ == SvmFault::fails_unasked) {
            refused_ = true;
            failed_ = address;
        } else {
            ask(address, (found.rights & svm_present) | (writes ? 2U : 0U) | 4U);
        }
        return std::nullopt;
    }
    Kept walk(std::uint64_t address, bool writes) {
        std::uint64_t table = root_ & ~std::uint64_t{0xFFF};
        std::uint64_t rights = svm_all_rights;
        const bool five = (root_ & static_cast<std::uint64_t>(abi::PasidFlag::five_levels)) != 0;
        for (std::uint32_t level = five ? 5 : 4; level != 0; --level) {
            std::uint64_t& entry = word(table + svm_index(level, address) * 8);
            rights &= entry;
            if ((entry & svm_present) == 0 && fault_ != SvmFault::permits_all) return {0, 0};
            entry |= level == 1 && writes ? 0x60 : 0x20;
            table = entry & ~std::uint64_t{0xFFF};
        }
        return {table, rights};
    }

    void ask(std::uint64_t address, std::uint64_t error) {
        auto* const queue = reinterpret_cast<abi::AccelPageRequest*>(ram(queue_));
        ++requests_;
        abi::AccelPageRequest& request = queue[requests_ % abi::page_request_entries];
        request = {requests_, address, command_.pasid, static_cast<std::uint32_t>(error), 0};
        asked_for_ = address;
    }
    void answer(std::uint64_t value) {
        ASSERT_TRUE(asked_for_);
        EXPECT_EQ(value / 2, requests_);
        refused_ = value % 2 != 0 && fault_ != SvmFault::works_on;
        failed_ = *asked_for_;
        if (value % 2 != 0 && fault_ == SvmFault::works_on) done_ += page_bytes;
        spared_ = true;
        asked_for_.reset();
    }

    const SvmFault fault_;
    std::vector<std::uint64_t> memory_ = std::vector<std::uint64_t>(ram_bytes / 8);
    std::uint64_t ring_ = 0, pasids_ = 0, queue_ = 0, status_ = 0, head_ = 0, tail_ = 0, requests_ = 0;
    abi::AccelCommand command_{};
    std::uint64_t root_ = 0, done_ = 0, failed_ = 0;
    std::uint32_t sum_ = 0;
    const bool keeps_ = fault_ == SvmFault::keeps_translations || fault_ == SvmFault::keeps_targets;
    bool caches_ = false, begun_ = false, refused_ = false, skips_ = false, spared_ = false;
    std::optional<std::uint64_t> asked_for_;
    std::map<Key, Kept> kept_;
    std::map<std::uint32_t, std::uint64_t> roots_;
};

class SvmTestPlatform {
public:
    explicit SvmTestPlatform(SvmTestMachine& machine) : machine_(machine) {}

    std::uint8_t* ram(std::uint64_t gpa) { return machine_.ram(gpa); }
    std::uint64_t mmio_read(std::uint64_t gpa) {
        if (gpa >= abi::accelerator_base) return machine_.read(static_cast<abi::AccelRegister>(gpa & 0xFFF));
        return machine_.finish_early;
    }
    void mmio_write(std::uint64_t gpa, std::uint64_t value) {
        if (gpa >= abi::accelerator_base) return machine_.write(static_cast<abi::AccelRegister>(gpa & 0xFFF), value);
        if (static_cast<abi::Port>(gpa & 0xFFF) == abi::Port::console) return machine_.hear(value);
        std::memcpy(&machine_.report, ram(value), sizeof(machine_.report));
    }
    void store_entry(std::uint64_t gpa, std::uint64_t value) {
        machine_.tick();
        machine_.word(gpa) = value;
    }
    [[nodiscard]] unsigned cpu() const { return 0; }
    void relax() { machine_.tick(); }

private:
    SvmTestMachine& machine_;
};

inline SvmStatus run(SvmTestMachine& machine) {
    SvmTestPlatform platform(machine);
    return run_svm(platform, machine.boot);
}

}  // namespace penumbra::guest
