// Random accelerator commands and a model of what they must do to memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "tests/support/accelerator_machine.hpp"

namespace penumbra::test {

class AcceleratorWorkload {
public:
    AcceleratorWorkload(AcceleratorMachine& machine, std::uint64_t seed);

    /// Runs batches of commands until `commands` were answered or something was wrong. Returns how many things were.
    [[nodiscard]] std::uint64_t run(std::uint64_t commands);
    /// The device did not answer within the machine's patience.
    [[nodiscard]] bool hung() const { return hung_; }

private:
    struct Area {
        Gpa first{};
        std::vector<std::byte> bytes;
    };
    struct Expected {
        abi::AccelResult result;
        std::uint64_t value;
    };
    /// A range within one area.
    struct Place {
        std::size_t area;
        std::uint64_t offset;
        std::uint64_t bytes;
    };

    void run_batch();
    void submit_one();
    [[nodiscard]] Place pick(std::uint64_t longest);
    [[nodiscard]] Gpa gpa(const Place& place) const { return areas_[place.area].first + place.offset; }
    [[nodiscard]] std::byte* model(const Place& place) { return areas_[place.area].bytes.data() + place.offset; }
    [[nodiscard]] Expected apply_copy(const Place& from, const Place& to);
    void write_as_guest();
    void compare_memory();

    AcceleratorMachine& machine_;
    std::mt19937_64 random_;
    std::vector<Area> areas_;
    std::vector<Expected> expected_;
    std::uint64_t submitted_ = 0;
    std::uint64_t wrong_ = 0;
    bool hung_ = false;
};

}  // namespace penumbra::test
