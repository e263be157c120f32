// An accelerator over a whole MemorySystem, without a guest: the test's thread writes the ring, and waits for each
// command.
#pragma once

#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "vmm/devices/accelerator/accelerator.hpp"
#include "vmm/memory/memory_system.hpp"

namespace penumbra::vmm::test {

using abi::AccelCommand;
using abi::AccelOpcode;
using abi::AccelRegister;
using abi::AccelResult;
using Clock = std::chrono::steady_clock;
using Pages = std::set<std::uint64_t>;

inline constexpr std::uint64_t mebibyte = 1ULL << 20;
inline constexpr std::uint64_t region_bytes = 2 * mebibyte;

enum class Leaves : std::uint8_t { small, large };

class AcceleratedMemory {
public:
    static constexpr std::uint64_t bytes = 160 * mebibyte;
    static constexpr std::uint64_t ring_entries = 16;

    explicit AcceleratedMemory(Leaves leaves) {
        MemoryOptions options;
        options.memory_bytes = bytes;
        options.budget_bytes = 2 * bytes;  // nothing leaves but what a test takes out
        options.compress = true;
        options.accelerator = true;
        Result<std::unique_ptr<MemorySystem>> made = MemorySystem::create(std::move(options));
        PENUMBRA_ASSERT(made.has_value(), "no memory for a test");
        memory_ = std::move(*made);
        if (leaves == Leaves::small) {
            for (std::uint64_t at = 0; at < bytes; at += region_bytes)
                table().large_pages().disallow(frame_of(Gpa{at}));
        }
        device_.emplace(table(), memory_->window_source(), *memory_->shadow_table(), AcceleratorOptions{});
        set(AccelRegister::ring_gpa, 0);
        set(AccelRegister::ring_entries, ring_entries);
        set(AccelRegister::control, 1);
    }

    [[nodiscard]] mmu::DeviceTable& table() { return *memory_->device_table(); }
    [[nodiscard]] MemorySystem& memory() { return *memory_; }
    [[nodiscard]] std::uint64_t fills() { return table().tlb().fills(); }

    /// The command's value; nullopt if it was not done.
    std::optional<std::uint64_t> run(AccelOpcode opcode, std::uint64_t source, std::uint64_t target,
                                     std::uint64_t size) {
        AccelCommand command{};
        command.opcode = static_cast<std::uint32_t>(opcode);
        command.source = source;
        command.target = target;
        command.bytes = size;
        const Gpa slot{number_ % ring_entries * sizeof(command)};
        if (!memory_->write(slot, std::as_bytes(std::span{&command, 1}))) return std::nullopt;
        set(AccelRegister::doorbell, ++number_);
        const auto until = Clock::now() + std::chrono::seconds{60};
        while (device_->read(static_cast<std::uint64_t>(AccelRegister::head), 8) != number_) {
            if (Clock::now() > until) return std::nullopt;
            ::sched_yield();
        }
        if (!memory_->read(slot, std::as_writable_bytes(std::span{&command, 1}))) return std::nullopt;
        if (command.result != static_cast<std::uint32_t>(AccelResult::done)) return std::nullopt;
        return command.value;
    }
    /// Over any size.
    bool fill(std::uint64_t target, std::uint64_t size) {
        return each(size, [&](std::uint64_t done, std::uint64_t piece) {
            return run(AccelOpcode::fill, 0x0123'4567'89AB'CDEF * (target + done + 1), target + done, piece);
        });
    }
    bool copy(std::uint64_t source, std::uint64_t target, std::uint64_t size) {
        return each(size, [&](std::uint64_t done, std::uint64_t piece) {
            return run(AccelOpcode::copy, source + done, target + done, piece);
        });
    }
    std::vector<std::uint64_t> sums(std::uint64_t source, std::uint64_t size) {
        std::vector<std::uint64_t> sums;
        EXPECT_TRUE(each(size, [&](std::uint64_t done, std::uint64_t piece) {
            const auto sum = run(AccelOpcode::crc32c, source + done, 0, piece);
            sums.push_back(sum.value_or(0));
            return sum;
        }));
        return sums;
    }
    /// A log that begins leaves nothing cached.
    void empty_tlb() {
        table().begin_dirty_log();
        table().end_dirty_log();
    }
    /// Pages of one take, and of those behind it that `more` asks for.
    Pages take() {
        Pages pages;
        for (bool more = true; more;) {
            const mmu::DeviceTable::DirtyPages taken = table().take_dirty_log(1024);
            for (const GfnRange& range : taken.ranges) {
                for (Gfn gfn = range.first(); gfn < range.end(); ++gfn) pages.insert(gfn.value());
            }
            more = taken.more;
        }
        return pages;
    }

private:
    void set(AccelRegister at, std::uint64_t value) { device_->write(static_cast<std::uint64_t>(at), 8, value); }
    template <class Fn>
    bool each(std::uint64_t size, Fn&& fn) {
        constexpr std::uint64_t most = 16 * mebibyte;
        for (std::uint64_t done = 0; done < size; done += most) {
            if (!fn(done, std::min(most, size - done))) return false;
        }
        return true;
    }

    std::unique_ptr<MemorySystem> memory_;
    std::optional<Accelerator> device_;
    std::uint64_t number_ = 0;
};

}  // namespace penumbra::vmm::test
