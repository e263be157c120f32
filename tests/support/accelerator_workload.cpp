#include "tests/support/accelerator_workload.hpp"

#include <algorithm>
#include <cstring>
#include <span>

#include "vmm/devices/accelerator/crc32c.hpp"

namespace penumbra::test {

using abi::AccelCommand;
using abi::AccelOpcode;
using abi::AccelResult;

namespace {

constexpr std::uint64_t ring_entries = 128;
constexpr std::uint64_t ring_pages = ring_entries * sizeof(AccelCommand) / page_bytes;
constexpr std::uint64_t longest_range = 6 * page_bytes;
constexpr std::uint64_t batches_per_comparison = 16;

}  // namespace

AcceleratorWorkload::AcceleratorWorkload(AcceleratorMachine& machine, std::uint64_t seed)
    : machine_(machine), random_(seed) {
    constexpr std::uint64_t slot_pages = AcceleratorMachine::slot_pages;
    areas_.push_back({address_of(AcceleratorMachine::low_first + ring_pages),
                      std::vector<std::byte>((slot_pages - ring_pages) * page_bytes)});
    areas_.push_back({address_of(AcceleratorMachine::high_first), std::vector<std::byte>(slot_pages * page_bytes)});
    machine_.enable(ring_entries);
}

std::uint64_t AcceleratorWorkload::run(std::uint64_t commands) {
    for (std::uint64_t batch = 1; submitted_ < commands && wrong_ == 0 && !hung_; ++batch) {
        run_batch();
        if (batch % batches_per_comparison == 0 && !hung_) compare_memory();
    }
    if (!hung_) compare_memory();
    return wrong_;
}

void AcceleratorWorkload::run_batch() {
    const std::uint64_t first = submitted_;
    expected_.clear();
    if (random_() % 2 == 0) write_as_guest();
    for (std::uint64_t i = 1 + random_() % 16; i > 0; --i) submit_one();
    machine_.doorbell();
    if (!machine_.wait_for_head(submitted_)) {
        hung_ = true;
        return;
    }
    for (std::uint64_t i = 0; i < expected_.size(); ++i) {
        const AccelCommand slot = machine_.slot(first + i);
        const bool right =
            slot.result == static_cast<std::uint32_t>(expected_[i].result) && slot.value == expected_[i].value;
        if (!right) ++wrong_;
    }
}

void AcceleratorWorkload::submit_one() {
    AccelCommand command{};
    command.value = random_();
    Expected expected{AccelResult::done, 0};
    const Place from = pick(longest_range);
    switch (random_() % 8) {
        case 0: {
            command.opcode = static_cast<std::uint32_t>(AccelOpcode::nop);
            break;
        }
        case 1:
        case 2: {
            Place to = pick(longest_range);
            to.bytes = from.bytes;
            to.offset = std::min(to.offset, areas_[to.area].bytes.size() - to.bytes);
            command = {static_cast<std::uint32_t>(AccelOpcode::copy),
                       0,
                       gpa(from).value(),
                       gpa(to).value(),
                       from.bytes,
                       0,
                       0,
                       0,
                       {}};
            expected = apply_copy(from, to);
            break;
        }
        case 3:
        case 4: {
            const std::uint64_t pattern = random_();
            command = {
                static_cast<std::uint32_t>(AccelOpcode::fill), 0, pattern, gpa(from).value(), from.bytes, 0, 0, 0, {}};
            std::uint64_t i = 0;
            for (std::byte& byte : std::span{model(from), from.bytes}) byte = std::byte(pattern >> (8 * (i++ % 8)));
            break;
        }
        default: {
            command = {
                static_cast<std::uint32_t>(AccelOpcode::crc32c), 0, gpa(from).value(), 0, from.bytes, 0, 0, 0, {}};
            expected.value =
                vmm::crc32c_finish(vmm::crc32c_extend_portable(vmm::crc32c_start, {model(from), from.bytes}));
            break;
        }
    }
    machine_.put(command);
    expected_.push_back(expected);
    ++submitted_;
}

AcceleratorWorkload::Place AcceleratorWorkload::pick(std::uint64_t longest) {
    const std::size_t area = random_() % areas_.size();
    const std::uint64_t bytes = 1 + random_() % longest;
    return {area, random_() % (areas_[area].bytes.size() - bytes + 1), bytes};
}

AcceleratorWorkload::Expected AcceleratorWorkload::apply_copy(const Place& from, const Place& to) {
    const std::uint64_t distance = from.offset > to.offset ? from.offset - to.offset : to.offset - from.offset;
    if (from.area == to.area && distance < from.bytes) return {AccelResult::bad_command, 0};
    std::memcpy(model(to), model(from), from.bytes);
    return {AccelResult::done, 0};
}

void AcceleratorWorkload::write_as_guest() {
    const Place place = pick(2 * page_bytes);
    for (std::byte& byte : std::span{model(place), place.bytes}) byte = std::byte(random_());
    machine_.write(gpa(place), std::span{model(place), place.bytes});
}

void AcceleratorWorkload::compare_memory() {
    for (const Area& area : areas_) {
        std::vector<std::byte> found(area.bytes.size());
        machine_.read(area.first, found);
        if (found != area.bytes) ++wrong_;
    }
}

}  // namespace penumbra::test
