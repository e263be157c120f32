// Taking pages out of a guest's window and packing them with LZ4, per second of CPU, against LZ4 alone on the same
// pages.
#include <lz4.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "base/assert.hpp"
#include "bench/common/arguments.hpp"
#include "bench/common/cpu_time.hpp"
#include "bench/common/payload_pages.hpp"
#include "bench/common/touch_guest.hpp"

namespace penumbra::bench {

namespace {

constexpr std::uint32_t payload_pages = 12288;
constexpr std::uint64_t memory_bytes = 64ULL << 20;
constexpr std::uint64_t budget_bytes = 256ULL << 20;  // never reached: nothing but the benchmark takes pages out
constexpr std::uint32_t batch = 64;                   // pages per bracket, as the reclaimer takes them
constexpr std::uint32_t chunk = 16 * batch;           // pages per turn of each side
constexpr unsigned rounds = 3;

enum class Order : std::uint8_t { scattered, dense };

struct Score {
    CpuTime cpu;
    std::uint64_t pages = 0;

    [[nodiscard]] double rate() const { return static_cast<double>(pages) / cpu.total(); }
};

/// Has the guest read every page once, in random order.
class TouchAll final : public vmm::TouchSource {
public:
    TouchAll(Gpa first, std::vector<std::uint32_t> pages) : first_(first), pages_(std::move(pages)) {}
    [[nodiscard]] std::optional<Touch> next(std::uint32_t) override {
        if (at_ == pages_.size()) return std::nullopt;
        return Touch{first_ + pages_[at_++] * page_bytes, abi::TouchKind::read};
    }
    void touched(std::uint32_t, std::uint64_t) override {}

private:
    const Gpa first_;
    const std::vector<std::uint32_t> pages_;
    std::size_t at_ = 0;
};

class Bench {
public:
    explicit Bench(Report& report) : report_(report) {}
    [[nodiscard]] Result<> run();

private:
    struct Scores {
        Score penumbra;
        Score lz4;
    };
    [[nodiscard]] Result<> build();
    [[nodiscard]] Result<> fill();
    [[nodiscard]] Result<Scores> measure(Order order);
    [[nodiscard]] Result<> take_out(std::span<const std::uint32_t> pages, Score& score);
    void compress(std::span<const std::uint32_t> pages, Score& score);
    [[nodiscard]] std::vector<std::uint32_t> all_pages(Order order);

    Report& report_;
    std::mt19937_64 random_{1};
    std::optional<PayloadPages> payload_;
    std::unique_ptr<vmm::MemorySystem> memory_;
    std::unique_ptr<TouchGuest> guest_;
    std::vector<std::uint64_t> lz4_state_;
    std::vector<char> blobs_;
};

Result<> Bench::build() {
    PENUMBRA_TRY_ASSIGN(PayloadPages payload, PayloadPages::load(payload_pages, [](PageView) { return true; }));
    payload_.emplace(std::move(payload));
    vmm::MemoryOptions memory;
    memory.memory_bytes = memory_bytes;
    memory.budget_bytes = budget_bytes;
    memory.compress = true;
    memory.on_error = [](const Error& error) { fmt::print(stderr, "{}\n", error.message()); };
    memory.on_served = [](pid_t) {};
    PENUMBRA_TRY_ASSIGN(memory_, vmm::MemorySystem::create(std::move(memory)));
    PENUMBRA_TRY_ASSIGN(guest_, TouchGuest::create(*memory_));
    lz4_state_.resize(static_cast<std::size_t>(LZ4_sizeofState()) / sizeof(std::uint64_t) + 1);
    blobs_.resize(std::size_t{chunk} * LZ4_COMPRESSBOUND(page_bytes));
    return {};
}

std::vector<std::uint32_t> Bench::all_pages(Order order) {
    std::vector<std::uint32_t> pages(payload_pages);
    std::iota(pages.begin(), pages.end(), 0U);
    if (order == Order::scattered) std::ranges::shuffle(pages, random_);
    return pages;
}

/// Every payload page in the window, and mapped by the guest.
Result<> Bench::fill() {
    for (const std::uint32_t page : all_pages(Order::scattered)) {
        PENUMBRA_TRY(memory_->write(guest_->first_data() + page * page_bytes, payload_->page(page)));
    }
    TouchAll touches(guest_->first_data(), all_pages(Order::scattered));
    Result<> outcome;
    Thread vcpu("vcpu-0", ThreadRole::vcpu, [&] { outcome = guest_->run(abi::Ring::user, touches); });
    vcpu.join();
    return outcome;
}

Result<> Bench::take_out(std::span<const std::uint32_t> pages, Score& score) {
    const Hvp first =
        memory_->window_pages().first() + *memory_->layout().window_page_of(frame_of(guest_->first_data()));
    std::vector<Hvp> victims;
    for (const std::uint32_t page : pages) victims.push_back(first + page);
    for (std::size_t at = 0; at < victims.size(); at += batch) std::ranges::sort(std::span{victims}.subspan(at, batch));
    vmm::Reclaimer& reclaimer = memory_->reclaimer();
    std::size_t left = 0;
    std::size_t packed = 0;
    const CpuTime before = CpuTime::of_process();
    for (std::size_t at = 0; at < victims.size(); at += batch) {
        left += reclaimer.evict_pages(std::span{victims}.subspan(at, batch), bridge::Blockable::yes).taken;
        packed += reclaimer.pack(batch, vmm::Reclaimer::PackTarget::memory_only);
    }
    while (const std::size_t more = reclaimer.pack(batch, vmm::Reclaimer::PackTarget::memory_only)) packed += more;
    score.cpu += CpuTime::of_process() - before;
    score.pages += pages.size();
    if (left != pages.size() || packed != pages.size()) return fail("take out and pack", "every page");
    return {};
}

void Bench::compress(std::span<const std::uint32_t> pages, Score& score) {
    constexpr int acceleration = 1;
    std::size_t at = 0;
    const CpuTime before = CpuTime::of_process();
    for (const std::uint32_t page : pages) {
        const int bytes = LZ4_compress_fast_extState(
            lz4_state_.data(), reinterpret_cast<const char*>(payload_->page(page).data()), blobs_.data() + at,
            static_cast<int>(page_bytes), LZ4_COMPRESSBOUND(page_bytes), acceleration);
        PENUMBRA_ASSERT(bytes > 0, "LZ4 refused a page");
        at += static_cast<std::size_t>(bytes);
    }
    score.cpu += CpuTime::of_process() - before;
    score.pages += pages.size();
}

Result<Bench::Scores> Bench::measure(Order order) {
    Scores scores;
    for (unsigned round = 0; round < rounds; ++round) {
        PENUMBRA_TRY(fill());
        const std::vector<std::uint32_t> pages = all_pages(order);
        for (std::size_t at = 0; at < pages.size(); at += chunk) {
            const std::span<const std::uint32_t> some = std::span{pages}.subspan(at, chunk);
            const bool baseline_first = random_() % 2 == 0;
            if (baseline_first) compress(some, scores.lz4);
            PENUMBRA_TRY(take_out(some, scores.penumbra));
            if (!baseline_first) compress(some, scores.lz4);
        }
    }
    return scores;
}

Result<> Bench::run() {
    PENUMBRA_TRY(build());
    const auto report = [&](const std::string& name, const Scores& scores, std::optional<double> target) {
        report_.add(Row{name, scores.penumbra.rate(), "pages/CPU-s", scores.lz4.rate(), target, Better::higher});
        report_.add(Side{name + ": Penumbra", "evict_pages + pack by 64 pages, pages mapped by a guest in ring 3",
                         scores.penumbra.cpu});
        report_.add(
            Side{name + ": LZ4", "LZ4_compress_fast_extState, acceleration 1, into one buffer", scores.lz4.cpu});
    };
    PENUMBRA_TRY_ASSIGN(const Scores scattered, measure(Order::scattered));
    report("swap_out", scattered, 0.6);
    PENUMBRA_TRY_ASSIGN(const Scores dense, measure(Order::dense));
    report("swap_out_dense", dense, std::nullopt);
    report_.note("CPU time of all threads, user and system. The guest is outside while pages are taken out.");
    guest_.reset();
    return {};
}

}  // namespace

}  // namespace penumbra::bench

int main(int count, char** arguments) {
    using namespace penumbra::bench;
    const auto output = parse_arguments(count, arguments);
    if (!output) return 2;
    Report report("swap_out", {"swap_out", "swap_out_dense"});
    Bench bench(report);
    const penumbra::Result<> outcome = bench.run();
    return report.finish(*output, outcome);
}
