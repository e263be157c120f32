// The accelerator's part in churn, played by vCPU 0: sums over cold ranges of its own pages, asked for while it
// rewrites others, then compared with the CPU's sum of the same bytes; and now and then a fill and a copy into scratch
// memory.
#pragma once

#include <cstdint>

#include "guest-images/common/accelerator_driver.hpp"
#include "guest-images/common/churn_pages.hpp"

namespace penumbra::guest {

template <class Platform>
class ChurnAccelerator {
public:
    ChurnAccelerator(Platform& platform, const ChurnLayout& layout, ChurnShared<Platform>& shared,
                     ChurnPages<Platform>& pages, std::uint64_t seed)
        : platform_(platform),
          layout_(layout),
          shared_(shared),
          pages_(pages),
          driver_(platform, layout.ring()),
          random_(seed) {}

    /// False where the device does not come up.
    [[nodiscard]] bool enable() { return usable_ = driver_.enable(); }
    /// Takes all results in, then stops the device.
    void disable() {
        wait_while([&] { return driver_.in_flight() != 0; });
        if (usable_) driver_.disable();
        usable_ = false;
    }

    /// Called between two visits, near own page `position`: asks for sums, or takes in what is ready.
    void tick(std::uint64_t visits, std::uint64_t position) {
        if (!usable_) return;
        if (driver_.in_flight() != 0) {
            if (visits % visits_per_look == 0) collect_ready();
        } else if (visits % visits_per_batch == 0) {
            submit_batch(position);
        }
    }
    /// Waits until the device has given a lent page back.
    void await(std::uint64_t page) {
        wait_while([&] { return (pages_.state(page).flags & page_lent) != 0; });
    }

private:
    struct Lent {
        abi::AccelOpcode opcode;
        std::uint32_t pages;
        std::uint64_t page;    ///< number of the first lent page
        std::uint64_t source;  ///< gpa; fill: the pattern
        std::uint64_t target;
        std::uint64_t bytes;
    };

    static constexpr std::uint64_t batch_commands = 16;
    static constexpr std::uint64_t batch_sums = batch_commands - 2;
    static constexpr std::uint64_t longest_range = 16;
    static constexpr std::uint64_t visits_per_batch = 1024;
    static constexpr std::uint64_t visits_per_look = 64;
    static constexpr std::uint64_t batches_per_scratch_use = 4;
    static constexpr std::uint64_t spin_limit = 1 << 14;
    static constexpr std::uint64_t idle_limit = 1 << 17;  ///< looks at an unmoved head before the device counts as dead
    static_assert(batch_commands <= AcceleratorDriver<Platform>::ring_entries);

    [[nodiscard]] bool ready() { return driver_.result() != abi::AccelResult::pending; }

    /// Takes results in while `busy()`, which holds only with commands in flight.
    template <class Busy>
    void wait_while(Busy busy) {
        std::uint64_t head = ~std::uint64_t{0};
        for (std::uint64_t idle = 0; busy() && idle < idle_limit; ++idle) {
            for (std::uint64_t spin = 0; spin < spin_limit && !ready(); ++spin) platform_.relax();
            collect_ready();
            if (!busy()) return;
            const std::uint64_t now = driver_.head();
            if (now != head) idle = 0;
            head = now;
            if (!driver_.healthy()) break;
        }
        if (busy()) give_up();
    }

    void submit_batch(std::uint64_t position) {
        const std::uint64_t cpu = platform_.cpu();
        const std::uint64_t owned = layout_.owned(cpu);
        for (std::uint64_t i = 0; i < batch_sums; ++i) {
            lend(abi::AccelOpcode::crc32c, pick_cold(position, cpu, owned), 1 + random_.below(longest_range), 0);
        }
        if (++batches_ % batches_per_scratch_use == 0) {
            lend(abi::AccelOpcode::copy, pick_cold(position, cpu, owned), 1 + random_.below(4), layout_.copy_scratch());
            const std::uint64_t start = random_.below(ChurnLayout::scratch_bytes / 16) * 8;
            const std::uint64_t bytes = 8 + random_.below(ChurnLayout::scratch_bytes / 16) * 8;
            submit(Lent{abi::AccelOpcode::fill, 0, 0, random_.next(), layout_.fill_scratch() + start, bytes});
        }
        if (driver_.in_flight() != 0) driver_.ring_doorbell();
    }
    /// An own page at least a quarter of the vCPU's pages away from where it works.
    std::uint64_t pick_cold(std::uint64_t position, std::uint64_t cpu, std::uint64_t owned) {
        return layout_.page(cpu, (position + owned / 4 + random_.below(owned / 2)) % owned);
    }
    /// Lends a range to the device unless it leaves the chunk, is not contiguous, or is partly lent already.
    void lend(abi::AccelOpcode opcode, std::uint64_t page, std::uint64_t pages, std::uint64_t target) {
        const std::uint64_t left_in_chunk = chunk_pages - page % chunk_pages;
        if (pages > left_in_chunk) pages = left_in_chunk;
        if (!layout_.contiguous(page, pages)) return;
        for (std::uint64_t i = 0; i < pages; ++i) {
            if ((pages_.state(page + i).flags & page_lent) != 0) return;
        }
        for (std::uint64_t i = 0; i < pages; ++i) pages_.state(page + i).flags |= page_lent;
        submit(Lent{opcode, static_cast<std::uint32_t>(pages), page, layout_.gpa(page), target, pages * page_bytes});
    }
    void submit(const Lent& lent) {
        lent_[driver_.submitted() % batch_commands] = lent;
        driver_.submit(lent.opcode, lent.source, lent.target, lent.bytes);
    }

    void collect_ready() {
        while (driver_.in_flight() != 0 && ready()) {
            const Lent& lent = lent_[driver_.collected() % batch_commands];
            judge(lent, driver_.result(), driver_.value());
            take_back(lent);
            driver_.pop();
        }
    }
    void take_back(const Lent& lent) {
        for (std::uint64_t i = 0; i < lent.pages; ++i) {
            PageState& page = pages_.state(lent.page + i);
            page.flags = static_cast<std::uint16_t>(page.flags & ~page_lent);
        }
    }
    void judge(const Lent& lent, abi::AccelResult result, std::uint64_t value) {
        constexpr abi::AccelResult done = abi::AccelResult::done;
        if (result != done) {
            return complain(lent, "result", static_cast<std::uint64_t>(result), static_cast<std::uint64_t>(done));
        }
        if (lent.opcode == abi::AccelOpcode::fill) return judge_fill(lent);
        const std::uint64_t expected = crc32c(platform_.ram(lent.source), lent.bytes);
        if (lent.opcode == abi::AccelOpcode::copy) value = crc32c(platform_.ram(lent.target), lent.bytes);
        if (lent.opcode == abi::AccelOpcode::crc32c) add_own(shared_.own().sums);
        if (value != expected) complain(lent, "sum", value, expected);
    }
    void judge_fill(const Lent& lent) {
        const std::uint8_t* const at = platform_.ram(lent.target);
        for (std::uint64_t i = 0; i < lent.bytes; i += 8) {
            std::uint64_t word;
            __builtin_memcpy(&word, at + i, sizeof(word));
            if (word != lent.source) return complain(lent, "word", word, lent.source);
        }
    }
    void complain(const Lent& lent, const char* what, std::uint64_t found, std::uint64_t expected) {
        add_own(shared_.own().wrong_sums);
        if (!shared_.may_complain()) return;
        constexpr const char* names[] = {"nop", "copy", "fill", "crc32c"};
        const bool fill = lent.opcode == abi::AccelOpcode::fill;
        TextLine line = shared_.line();
        line.text("accelerator ").text(names[static_cast<unsigned>(lent.opcode)]);
        line.text(" of gpa ").hex(fill ? lent.target : lent.source).text(", ").number(lent.bytes).text(" bytes: ");
        line.text(what).text(" ").hex(found).text(", expected ").hex(expected);
        shared_.say();
    }
    /// The device is dead or in error: counted once, and it gets no more work.
    void give_up() {
        add_own(shared_.own().wrong_sums);
        shared_.line().text("accelerator gave no answer to ").number(driver_.in_flight()).text(" commands");
        shared_.say();
        for (; driver_.in_flight() != 0; driver_.pop()) take_back(lent_[driver_.collected() % batch_commands]);
        usable_ = false;
    }

    Platform& platform_;
    const ChurnLayout& layout_;
    ChurnShared<Platform>& shared_;
    ChurnPages<Platform>& pages_;
    AcceleratorDriver<Platform> driver_;
    Random random_;
    bool usable_ = false;
    std::uint64_t batches_ = 0;
    Lent lent_[batch_commands] = {};
};

}  // namespace penumbra::guest
