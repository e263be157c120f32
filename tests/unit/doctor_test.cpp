#include "vmm/control/doctor.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>

namespace penumbra::vmm {
namespace {

constexpr std::uint64_t all_features = 0x1ffff;
constexpr std::uint64_t feature_move = 1U << 16;

HostFacts good_host() {
    HostFacts facts;
    facts.kernel = "6.12.0";
    facts.ram_bytes = std::uint64_t{16} << 30;
    facts.cpus = 8;
    facts.kvm = {.open_error = 0, .flavour = KvmFlavour::ept, .cpu_virtualizes = true};
    facts.userfaultfd = {.available = true, .how = "/dev/userfaultfd", .features = all_features, .why = {}};
    facts.cgroup = {.version = 2, .limit_bytes = std::nullopt};
    facts.transparent_huge_pages = "madvise";
    return facts;
}

const Finding& finding(const Diagnosis& diagnosis, std::string_view item) {
    const auto at = std::ranges::find(diagnosis.findings, item, &Finding::item);
    EXPECT_NE(at, diagnosis.findings.end()) << item;
    return *at;
}

TEST(Doctor, AGoodHostHasNothingToCure) {
    const Diagnosis diagnosis = diagnose(good_host());
    EXPECT_TRUE(diagnosis.can_run);
    for (const Finding& found : diagnosis.findings) {
        EXPECT_EQ(found.standing, Standing::ok) << found.item;
        EXPECT_TRUE(found.cure.empty()) << found.item;
    }
}

TEST(Doctor, EveryLackHasACure) {
    HostFacts facts = good_host();
    facts.kvm = {.open_error = ENOENT, .flavour = KvmFlavour::none, .cpu_virtualizes = false};
    facts.userfaultfd = {
        .available = false, .how = {}, .features = 0, .why = Error{"open", "/dev/userfaultfd", EPERM, {}}};
    facts.io_uring_error = EPERM;
    facts.pagemap_scan_error = ENOTTY;
    facts.cgroup = {};
    facts.memlock_bytes = 65536;
    facts.transparent_huge_pages = "always";
    facts.direct_io = DirectIoFacts{"/swap", EINVAL};
    const Diagnosis diagnosis = diagnose(facts);
    EXPECT_FALSE(diagnosis.can_run);
    for (const Finding& found : diagnosis.findings) {
        EXPECT_EQ(found.standing == Standing::ok, found.cure.empty()) << found.item;
        EXPECT_FALSE(found.means.empty()) << found.item;
    }
}

TEST(Doctor, KvmThatMayNotBeOpenedIsAboutPermission) {
    HostFacts facts = good_host();
    facts.kvm.open_error = EACCES;
    const Diagnosis diagnosis = diagnose(facts);
    EXPECT_FALSE(diagnosis.can_run);
    EXPECT_NE(finding(diagnosis, "KVM").cure.find("group"), std::string::npos);
}

TEST(Doctor, ShadowPagingIsLimitedButRuns) {
    HostFacts facts = good_host();
    facts.kvm.flavour = KvmFlavour::pvm;
    const Diagnosis diagnosis = diagnose(facts);
    EXPECT_TRUE(diagnosis.can_run);
    EXPECT_EQ(finding(diagnosis, "KVM").standing, Standing::limited);
}

TEST(Doctor, AKernelWithoutMoveRunsByCopying) {
    HostFacts facts = good_host();
    facts.userfaultfd.features = all_features & ~feature_move;
    const Diagnosis diagnosis = diagnose(facts);
    EXPECT_TRUE(diagnosis.can_run);
    EXPECT_EQ(finding(diagnosis, "userfaultfd").standing, Standing::limited);
    facts.userfaultfd.features = 0;
    EXPECT_FALSE(diagnose(facts).can_run);
}

TEST(Doctor, LosingOnlyTheSwapFileStillRuns) {
    HostFacts facts = good_host();
    facts.io_uring_error = ENOSYS;
    EXPECT_TRUE(diagnose(facts).can_run);
    EXPECT_EQ(finding(diagnose(facts), "io_uring").standing, Standing::missing);
}

TEST(Doctor, FeaturesAreNamed) {
    EXPECT_EQ(feature_names(0), "MISSING");
    EXPECT_EQ(feature_names((1U << 0) | (1U << 8) | (1U << 16)), "MISSING WP THREAD_ID MOVE");
    EXPECT_EQ(feature_names(std::uint64_t{1} << 40), "MISSING bit40");
}

TEST(Doctor, TableHasOneRowPerItemAndNoCodesUnlessAsked) {
    HostFacts facts = good_host();
    facts.kernel = "6.1\x1b[2J";
    const std::string table = doctor_table(diagnose(facts), Colour::off);
    EXPECT_EQ(table.find('\x1b'), std::string::npos);
    for (const Finding& found : diagnose(facts).findings) {
        EXPECT_NE(("\n" + table).find("\n  " + found.item + " "), std::string::npos) << found.item;
    }
    EXPECT_NE(doctor_table(diagnose(facts), Colour::on).find("\x1b[32m"), std::string::npos);
}

TEST(Doctor, JsonSaysTheSame) {
    const HostFacts facts = good_host();
    const Diagnosis diagnosis = diagnose(facts);
    const auto root = boost::json::parse(doctor_json(diagnosis, facts));
    EXPECT_TRUE(root.at("can_run").as_bool());
    EXPECT_EQ(root.at("findings").as_array().size(), diagnosis.findings.size());
    EXPECT_EQ(root.at_pointer("/facts/kvm_flavour").as_string(), "ept");
    EXPECT_TRUE(root.at_pointer("/facts/cgroup_limit_bytes").is_null());
}

TEST(Doctor, ThisHostCanBeLookedAt) {
    const HostFacts facts = gather_host_facts("", {});
    EXPECT_FALSE(facts.kernel.empty());
    EXPECT_GT(facts.cpus, 0U);
    EXPECT_GT(facts.ram_bytes, 0U);
    EXPECT_FALSE(diagnose(facts).can_run);  // no userfaultfd was offered
}

}  // namespace
}  // namespace penumbra::vmm
