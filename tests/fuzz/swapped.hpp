// Guest memory of which a part is swapped out, under a fuzzer; and how often its device met that, told at the program's
// end.
#pragma once

#include <cstdint>
#include <cstdio>

#include "tests/support/fake_dma_machine.hpp"

namespace penumbra::test {

/// Swaps out everything, one half, some pages in a row, or every fourth page. `input` is a FuzzedDataProvider, which
/// only the fuzzers' compiler brings.
template <class Input>
void swap_some_out(Input& input, FakeDmaMachine& machine) {
    constexpr std::uint64_t pages = FakeDmaMachine::slot_pages;
    const Gfn half = input.ConsumeBool() ? FakeDmaMachine::low_first : FakeDmaMachine::high_first;
    switch (input.ConsumeIntegralInRange(0, 3)) {
        case 0:
            machine.evict_all();
            break;
        case 1:
            (void)machine.evict(GfnRange{half, pages});
            break;
        case 2: {
            const auto first = input.template ConsumeIntegralInRange<std::uint64_t>(0, pages - 1);
            (void)machine.evict(
                GfnRange{half + first, input.template ConsumeIntegralInRange<std::uint64_t>(1, pages - first)});
            break;
        }
        default:
            for (std::uint64_t page = input.ConsumeIntegralInRange(0U, 3U); page < pages; page += 4) {
                (void)machine.evict(GfnRange{half + page, 1});
            }
    }
}

/// One per fuzzer, static. note() once per input.
class SwappedMemory {
public:
    explicit SwappedMemory(const char* fuzzer) : fuzzer_(fuzzer) {}
    SwappedMemory(const SwappedMemory&) = delete;
    SwappedMemory& operator=(const SwappedMemory&) = delete;
    ~SwappedMemory() {
        (void)std::fprintf(stderr,
                           "%s: in %llu of %llu inputs the device met memory that was swapped out; of %llu pages that "
                           "it asked for %llu were brought in\n",
                           fuzzer_, meetings_, inputs_, wishes_, brought_in_);
    }

    /// `service` is that of the last time, or a new one.
    void note(const vmm::DmaService& service) {
        const vmm::DmaService::Stats now = service.stats();
        const bool is_new = now.wishes < before_.wishes || now.brought_in < before_.brought_in;
        const vmm::DmaService::Stats before = is_new ? vmm::DmaService::Stats{} : before_;
        ++inputs_;
        if (now.brought_in > before.brought_in) ++meetings_;
        wishes_ += now.wishes - before.wishes;
        brought_in_ += now.brought_in - before.brought_in;
        before_ = now;
    }

private:
    const char* const fuzzer_;
    vmm::DmaService::Stats before_{};
    unsigned long long inputs_ = 0, meetings_ = 0, wishes_ = 0, brought_in_ = 0;
};

}  // namespace penumbra::test
