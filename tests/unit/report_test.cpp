#include "vmm/control/report.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <array>
#include <boost/json.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>

namespace penumbra::vmm {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

class Folder {
public:
    Folder() { EXPECT_NE(::mkdtemp(name_.data()), nullptr); }
    ~Folder() { fs::remove_all(name_); }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    [[nodiscard]] fs::path operator/(const char* file) const { return fs::path{name_} / file; }
    [[nodiscard]] std::ptrdiff_t entries() const { return std::distance(fs::directory_iterator{name_}, {}); }

private:
    std::string name_ = (fs::temp_directory_path() / "penumbra-report-XXXXXX").string();
};

std::string contents_of(const fs::path& path) {
    std::ifstream file{path};
    return {std::istreambuf_iterator<char>{file}, {}};
}

RunReport sample() {
    RunReport report;
    report.memory = {.guest_bytes = 1U << 30, .budget_bytes = 1U << 28, .peak_charged_bytes = 1U << 27};
    report.pager.faults = 17;
    report.pager.handler_latency = {.p50 = 1.5, .p99 = 2.25, .p999 = 3, .max = 4.0004, .samples = 17};
    report.tiers = {{"lz4", 100, 200'000}, {"file", 5, 20'480}};
    report.invalidations = {{"swap_out", 3}, {"discard", 1}};
    report.batches = 4;
    report.tables = {{"ept", {.mapped = 1, .zapped = 2, .faults = 3, .retries = 4, .tlb_flushes = 5}}, {"device", {}}};
    report.guest = {.pages_verified = 1000, .passes = 2, .exit_status = -1};
    report.elapsed_s = 1.25;
    return report;
}

constexpr auto contracted_names = std::to_array<const char*>({"/version",
                                                              "/memory/guest_bytes",
                                                              "/memory/budget_bytes",
                                                              "/memory/peak_charged_bytes",
                                                              "/memory/pinned_bytes",
                                                              "/memory/io_buffer_bytes",
                                                              "/pager/faults",
                                                              "/pager/swapped_out_pages",
                                                              "/pager/swapped_in_pages",
                                                              "/pager/rescued_pages",
                                                              "/pager/zero_pages",
                                                              "/pager/reclaim_passes",
                                                              "/pager/fault_latency_us/handler/p50",
                                                              "/pager/fault_latency_us/handler/p99",
                                                              "/pager/fault_latency_us/handler/p999",
                                                              "/pager/fault_latency_us/handler/max",
                                                              "/pager/fault_latency_us/guest/p50",
                                                              "/pager/fault_latency_us/guest/p99",
                                                              "/pager/fault_latency_us/guest/p999",
                                                              "/pager/fault_latency_us/guest/max",
                                                              "/pager/fault_latency_us/guest_samples",
                                                              "/pager/fault_latency_us/handler_samples",
                                                              "/tiers/0/name",
                                                              "/tiers/0/pages",
                                                              "/tiers/1/bytes",
                                                              "/bridge/invalidations/swap_out",
                                                              "/bridge/batches",
                                                              "/tables/ept/mapped",
                                                              "/tables/ept/zapped",
                                                              "/tables/ept/faults",
                                                              "/tables/ept/retries",
                                                              "/tables/ept/tlb_flushes",
                                                              "/tables/ept/stale_faults",
                                                              "/tables/device/mapped",
                                                              "/accelerator/commands",
                                                              "/accelerator/bytes",
                                                              "/accelerator/page_requests",
                                                              "/accelerator/page_requests_out",
                                                              "/accelerator/mismatches",
                                                              "/accelerator/tlb/fills",
                                                              "/accelerator/tlb/flushes",
                                                              "/guest/pages_verified",
                                                              "/guest/mismatches",
                                                              "/guest/passes",
                                                              "/guest/min_verifications",
                                                              "/guest/exit_status",
                                                              "/guest/svm/changes",
                                                              "/guest/svm/in_use",
                                                              "/guest/svm/commands",
                                                              "/guest/svm/bytes",
                                                              "/guest/svm/page_requests",
                                                              "/guest/svm/announcements",
                                                              "/guest/svm/empty",
                                                              "/environment/kernel",
                                                              "/environment/kvm_flavour",
                                                              "/environment/backend",
                                                              "/environment/take_out",
                                                              "/environment/cpus",
                                                              "/environment/seed",
                                                              "/outcome",
                                                              "/elapsed_s",
                                                              "/cpu_user_s",
                                                              "/cpu_system_s"});

TEST(Report, EveryContractedNameIsThere) {
    const json::value root = json::parse(to_json(sample()));
    for (const char* pointer : contracted_names) {
        boost::system::error_code code;
        const json::value* found = root.find_pointer(pointer, code);
        ASSERT_NE(found, nullptr) << pointer;
        EXPECT_FALSE(found->is_null()) << pointer;
    }
    EXPECT_EQ(root.at_pointer("/bridge/invalidations/swap_out").to_number<int>(), 3);
    EXPECT_DOUBLE_EQ(root.at_pointer("/elapsed_s").to_number<double>(), 1.25);
    EXPECT_DOUBLE_EQ(root.at_pointer("/pager/fault_latency_us/handler/max").to_number<double>(), 4);
}

TEST(Report, KeysKeepTheirOrderAndTheTextIsIndented) {
    const std::string text = to_json(sample());
    std::size_t last = 0;
    for (const char* key : {"{\n  \"version\"", "\n  \"memory\"", "\n  \"pager\"", "\n  \"tiers\"", "\n  \"bridge\"",
                            "\n  \"tables\"", "\n  \"accelerator\"", "\n  \"guest\"", "\n  \"elapsed_s\""}) {
        const std::size_t at = text.find(key);
        ASSERT_NE(at, std::string::npos) << key;
        EXPECT_GE(at, last) << key;
        last = at;
    }
    EXPECT_TRUE(text.ends_with("}\n"));
    EXPECT_EQ(text, to_json(sample()));
}

TEST(Report, HostileNumbersAndNamesStayJson) {
    RunReport report = sample();
    report.elapsed_s = std::numeric_limits<double>::quiet_NaN();
    report.cpu_user_s = std::numeric_limits<double>::infinity();
    report.outcome = "io-error: \"quoted\"\nline";
    report.memory.guest_bytes = ~std::uint64_t{0};
    const json::value root = json::parse(to_json(report));
    EXPECT_EQ(root.at("elapsed_s").to_number<double>(), 0);
    EXPECT_EQ(root.at("outcome").as_string(), report.outcome);
    EXPECT_EQ(root.at_pointer("/memory/guest_bytes").to_number<std::uint64_t>(), ~std::uint64_t{0});
}

TEST(Report, LatenciesComeFromAHistogramInMicroseconds) {
    LatencyHistogram histogram;
    for (int i = 0; i < 1000; ++i) histogram.record(10'000);
    const LatencySummary summary = LatencySummary::of(histogram);
    EXPECT_EQ(summary.samples, 1000U);
    EXPECT_NEAR(summary.p50, 10, 0.7);
    EXPECT_DOUBLE_EQ(summary.max, 10);
}

TEST(Report, IsWrittenWholeAndLeavesNoTemporaryFile) {
    const Folder folder;
    const fs::path path = folder / "out.json";
    std::ofstream{path} << "old";
    ASSERT_TRUE(write_report(path.string(), sample()));
    EXPECT_EQ(contents_of(path), to_json(sample()));
    EXPECT_EQ(folder.entries(), 1);
    struct stat status{};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_NE(status.st_mode & 0400U, 0U);
    EXPECT_EQ(status.st_mode & 0111U, 0U);
}

TEST(Report, ALinkKeepsPointingAtTheReport) {
    const Folder folder;
    std::ofstream{folder / "real.json"} << "old";
    fs::create_symlink(folder / "real.json", folder / "link.json");
    ASSERT_TRUE(write_report((folder / "link.json").string(), sample()));
    EXPECT_TRUE(fs::is_symlink(folder / "link.json"));
    EXPECT_EQ(contents_of(folder / "real.json"), to_json(sample()));
}

TEST(Report, AFailedWriteChangesNothing) {
    const Folder folder;
    fs::create_directory(folder / "taken");
    std::ofstream{folder / "taken" / "file"} << "x";
    EXPECT_FALSE(write_report((folder / "taken").string(), sample()));
    EXPECT_FALSE(write_report((folder / "missing/out.json").string(), sample()));
    EXPECT_EQ(folder.entries(), 1);
}

TEST(Report, ClosingTableColoursOnlyWhenAsked) {
    const std::string plain = closing_table(sample(), Colour::off);
    EXPECT_EQ(plain.find('\x1b'), std::string::npos);
    EXPECT_NE(closing_table(sample(), Colour::on).find("\x1b[32m"), std::string::npos);
    EXPECT_NE(plain.find("  guest              1 GiB\n"), std::string::npos) << plain;
    EXPECT_NE(plain.find("100 pages (400 KiB) in 195.3 KiB"), std::string::npos) << plain;
    EXPECT_NE(plain.find("not measured"), std::string::npos);
}

TEST(Report, ClosingTableShowsBrokenPromisesInRed) {
    RunReport report = sample();
    report.memory.pinned_bytes = 4096;
    EXPECT_NE(closing_table(report, Colour::on).find("\x1b[31m4,096\x1b[0m"), std::string::npos);
}

}  // namespace
}  // namespace penumbra::vmm
