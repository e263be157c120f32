// A guest whose kernel moves the pages of a process about while the accelerator works in the process's addresses, and
// the host takes pages away: content must come out as if nothing had moved.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "tests/support/accelerator_process.hpp"

namespace penumbra::test {

struct MoverOptions {
    std::uint64_t seed = 1;
    unsigned commands = 100;
    std::uint64_t flags = 0;  ///< PasidFlag bits of the process. Who announces moves pages between commands only.
};

/// A page is moved as a kernel does it: its entry goes, what it holds is copied, its old place is overwritten, and the
/// new place is mapped, at once or when the device asks. The process's tables hang below two roots, which take turns.
class AcceleratorMover {
public:
    AcceleratorMover(AcceleratorMachine& machine, const MoverOptions& options);

    /// Nothing, or what was wrong.
    [[nodiscard]] std::string run();
    [[nodiscard]] std::uint64_t moves() const { return moves_; }
    [[nodiscard]] std::uint64_t answered() const { return answered_; }

private:
    static constexpr std::uint64_t pages = 8;  // the first half is read, the second written
    static constexpr Gva place{0x3FE000};      // crosses from one lowest table into the next
    struct Page {
        Gfn at{};
        bool mapped = false;
        std::vector<std::byte> content;  // as the device should see it
    };
    [[nodiscard]] std::uint64_t below(std::uint64_t end) { return random_() % end; }
    [[nodiscard]] bool announces() const { return options_.flags != 0; }
    [[nodiscard]] static Gva address_of_page(std::uint64_t number) { return place + number * page_bytes; }

    void take_away(std::uint64_t number);
    void settle_elsewhere(std::uint64_t number);
    void map(std::uint64_t number);
    void move();
    void answer_requests();
    void switch_root();
    [[nodiscard]] bool finish_command(const abi::AccelCommand& command);
    [[nodiscard]] std::string one_command();
    [[nodiscard]] std::string check_sum(std::uint64_t from, std::uint64_t bytes);
    [[nodiscard]] std::vector<std::byte> content_from(std::uint64_t offset, std::uint64_t bytes) const;
    void set_content(std::uint64_t offset, std::span<const std::byte> bytes);

    AcceleratorMachine& machine_;
    const MoverOptions options_;
    std::mt19937_64 random_;
    AcceleratorProcess process_;
    std::vector<Page> pages_;
    std::vector<Gfn> free_;
    std::uint64_t moves_ = 0;
    std::uint64_t answered_ = 0;
};

}  // namespace penumbra::test
