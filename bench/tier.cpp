// What the compressed tier costs above its compressor, and how much memory it takes for what it stores.
#include <algorithm>
#include <array>
#include <memory>
#include <random>
#include <vector>

#include "bench/common/arguments.hpp"
#include "bench/common/compare.hpp"
#include "bench/common/payload_pages.hpp"
#include "vmm/memory/tier/compressed_tier.hpp"
#include "vmm/memory/tier/page_check.hpp"

namespace penumbra::bench {

namespace {

using vmm::Codec;
using vmm::StoreHandle;

constexpr std::uint32_t page_count = 4096;
constexpr std::uint64_t pool_bytes = std::uint64_t{256} << 20;
constexpr std::size_t batch = 32;

using Space = std::array<std::byte, vmm::CompressedTier::largest_blob>;

struct Compressed {
    Space bytes;
    std::size_t length = 0;
};

class Bench {
public:
    explicit Bench(Report& report) : report_(report) {}
    [[nodiscard]] Result<> run();

private:
    [[nodiscard]] Result<> codec(Codec codec, const std::string& name);
    [[nodiscard]] Result<> holes();
    void store_all(vmm::CompressedTier& tier);
    void drop_all(vmm::CompressedTier& tier);

    Report& report_;
    std::optional<PayloadPages> pages_;
    std::vector<StoreHandle> handles_ = std::vector<StoreHandle>(page_count);
};

void Bench::store_all(vmm::CompressedTier& tier) {
    std::array<vmm::StoreItem, batch> items;
    std::array<vmm::StoreOutcome, batch> outcomes;
    for (std::uint32_t at = 0; at < page_count; at += batch) {
        for (std::uint32_t i = 0; i < batch; ++i) items[i] = {{1, at + i, 1}, pages_->page(at + i).data()};
        tier.store_batch(items, outcomes, vmm::Incompressible::store_raw);
        for (std::uint32_t i = 0; i < batch; ++i) {
            PENUMBRA_ASSERT(outcomes[i].stored(), "the pool is large enough");
            handles_[at + i] = outcomes[i].handle;
        }
    }
}

void Bench::drop_all(vmm::CompressedTier& tier) {
    if (tier.pages() != 0) tier.drop_batch(handles_);
}

Result<> Bench::codec(Codec codec, const std::string& name) {
    PENUMBRA_TRY_ASSIGN(vmm::CompressedTier tier, vmm::CompressedTier::create(pool_bytes, codec));
    const auto compressed = std::make_unique<std::array<Compressed, page_count>>();
    vmm::PageCompressor compressor;
    const Pair store = compare(
        page_count, [&] { drop_all(tier); }, [&] { store_all(tier); },
        [&] {
            for (std::uint32_t i = 0; i < page_count; ++i) {
                Compressed& to = (*compressed)[i];
                to.length = compressor.compress(codec, pages_->page(i), to.bytes);
            }
        });
    add_pair(report_, name + "_store", store, 1.5, {"store_batch of 32 pages", "the compressor alone"});
    std::array<std::byte, page_bytes> out;
    const Pair load = compare(
        page_count, [] {},
        [&] {
            for (std::uint32_t i = 0; i < page_count; ++i) {
                PENUMBRA_ASSERT(tier.load(handles_[i], {1, i}, out).has_value(), "what was stored is there");
            }
        },
        [&] {
            for (std::uint32_t i = 0; i < page_count; ++i) {
                const Compressed& from = (*compressed)[i];
                const vmm::ConstPageBytes page = pages_->page(i);
                const bool raw = from.length == 0;
                const std::span<const std::byte> stored = std::span{from.bytes}.first(from.length);
                (void)vmm::decode_page(raw ? vmm::Encoding::raw : encoding_of(codec), raw ? page : stored, out);
            }
        });
    add_pair(report_, name + "_load", load, 2.0, {"load, its check compared", "the decompressor alone"});
    std::uint64_t matched = 0;
    double best = 1e30;
    CpuTime cpu;
    for (unsigned round = 0; round < compare_rounds; ++round) {
        timed(best, cpu, page_count, [&] {
            for (std::uint32_t i = 0; i < page_count; ++i) {
                matched += tier.matches(handles_[i], {1, i}, pages_->page(i)) ? 1U : 0U;
            }
        });
    }
    if (matched != std::uint64_t{page_count} * compare_rounds) return fail("match what was stored", name);
    report_.add(Row{name + "_match", best, "ns each", store.value, 0.5, Better::lower});
    const double stored = static_cast<double>(page_count) * page_bytes;
    report_.add(Row{
        name + "_ratio", stored / static_cast<double>(tier.charged_bytes()), "pages in one", {}, {}, Better::higher});
    drop_all(tier);
    return {};
}

/// Pool memory for stored bytes, after blobs of the payload's own lengths replaced each other at random.
Result<> Bench::holes() {
    constexpr std::uint64_t blobs = 20'000;
    constexpr std::uint64_t replacements = 1'000'000;
    PENUMBRA_TRY_ASSIGN(auto pool, vmm::BlobPool::create(pool_bytes));
    vmm::PageCompressor compressor;
    Space space;
    std::vector<std::uint16_t> lengths;
    for (std::uint32_t i = 0; i < page_count; ++i) {
        const std::size_t length = compressor.compress(Codec::lz4, pages_->page(i), space);
        if (length > 0) lengths.push_back(static_cast<std::uint16_t>(length));
    }
    std::mt19937_64 random(1);
    std::vector<StoreHandle> handles(blobs);
    std::vector<std::uint16_t> stored(blobs);
    std::uint64_t bytes = 0;
    const auto put = [&](std::uint64_t at) {
        const std::uint16_t length = lengths[random() % lengths.size()];
        const vmm::SharedContents contents{1, vmm::ContentHash{random()}};
        const std::uint64_t check = vmm::page_check({1, at, 0}, contents.hash);
        const vmm::BlobInfo info{check, static_cast<std::uint32_t>(at), 0, length, vmm::Encoding::lz4};
        const vmm::Blob blob{info, space.data(), contents};
        PENUMBRA_ASSERT(pool->store({&blob, 1}, {&handles[at], 1}) == 1, "the pool is large enough");
        bytes += stored[at] = length;
    };
    for (std::uint64_t at = 0; at < blobs; ++at) put(at);
    const vmm::Relocate relocate = [&](std::uint64_t page, StoreHandle from, StoreHandle to) {
        if (handles[page] != from) return false;
        handles[page] = to;
        return true;
    };
    double worst = 0;
    std::uint64_t moved = 0;
    for (std::uint64_t turn = 1; turn <= replacements; ++turn) {
        const std::uint64_t at = random() % blobs;
        pool->free({&handles[at], 1});
        bytes -= stored[at];
        put(at);
        if (turn % 64 == 0) moved += pool->compact(16, relocate);
        worst = std::max(worst, static_cast<double>(pool->resident_bytes()) / static_cast<double>(bytes));
    }
    report_.add(Row{"pool_for_bytes", worst, "bytes of pool for one stored, at worst", 1.0, 1.10, Better::lower});
    report_.add(Row{"moves",
                    static_cast<double>(moved) / static_cast<double>(replacements),
                    "for one replacement",
                    {},
                    {},
                    Better::lower});
    const double bookkeeping = static_cast<double>(pool->bookkeeping_bytes()) / static_cast<double>(blobs);
    report_.add(Row{"metadata", bookkeeping + vmm::blob_header_bytes, "bytes a blob", 24.0, 1.0, Better::lower});
    return {};
}

Result<> Bench::run() {
    PENUMBRA_TRY_ASSIGN(pages_, PayloadPages::load(page_count, [](PageView) { return true; }));
    PENUMBRA_TRY(codec(Codec::lz4, "lz4"));
    PENUMBRA_TRY(codec(Codec::zstd, "zstd"));
    return holes();
}

}  // namespace

}  // namespace penumbra::bench

int main(int count, char** arguments) {
    using namespace penumbra::bench;
    const auto output = parse_arguments(count, arguments);
    if (!output) return 2;
    Report report("tier", {"lz4_store", "lz4_load", "lz4_match", "lz4_ratio", "zstd_store", "zstd_load", "zstd_match",
                           "zstd_ratio", "pool_for_bytes", "moves", "metadata"});
    Bench bench(report);
    const penumbra::Result<> outcome = bench.run();
    return report.finish(*output, outcome);
}
