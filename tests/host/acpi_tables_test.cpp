// The ACPI tables as Intel's own compiler reads them: taken apart and put together again without a complaint.
#include "vmm/boot/acpi/acpi_tables.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "vmm/boot/platform_map.hpp"

namespace penumbra::vmm {
namespace {

namespace fs = std::filesystem;

struct Outcome {
    int status;
    std::string output;
};

struct ClosePipe {
    void operator()(FILE* pipe) const { ::pclose(pipe); }
};

Outcome run(const std::string& command) {
    std::unique_ptr<FILE, ClosePipe> pipe(::popen((command + " 2>&1").c_str(), "r"));
    if (!pipe) return {-1, "cannot start a shell"};
    std::string output;
    std::array<char, 4096> piece{};
    while (const std::size_t got = std::fread(piece.data(), 1, piece.size(), pipe.get()))
        output.append(piece.data(), got);
    const int status = ::pclose(pipe.release());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, output};
}

std::string contents(const fs::path& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
}

class AcpiTablesTest : public testing::TestWithParam<PlatformDescription> {
protected:
    void SetUp() override {
        if (run("command -v iasl").status != 0) {
            const char* ci = ::getenv("CI");
            if (ci != nullptr && std::string(ci) == "true") FAIL() << "iasl is missing: install acpica-tools";
            GTEST_SKIP() << "iasl is missing: install acpica-tools";
        }
        std::string pattern = fs::temp_directory_path() / "acpi-tables-XXXXXX";
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        folder_ = pattern;
        tables_ = build_acpi(GetParam());
    }
    void TearDown() override {
        if (!folder_.empty()) fs::remove_all(folder_);
    }

    /// Takes the table apart and gives the source; puts it together again as again.aml.
    std::string there_and_back(const std::string& signature) {
        const auto table = tables_.table(signature);
        std::ofstream(folder_ / "table.dat", std::ios::binary)
            .write(reinterpret_cast<const char*>(table.data()), static_cast<std::streamsize>(table.size()));
        const std::string in_folder = "cd " + folder_.string() + " && ";
        const Outcome apart = run(in_folder + "iasl -d table.dat");
        EXPECT_EQ(apart.status, 0) << apart.output;
        EXPECT_FALSE(apart.output.contains("Warning") || apart.output.contains("Error")) << apart.output;
        const Outcome together = run(in_folder + "iasl -p again table.dsl");
        EXPECT_EQ(together.status, 0) << together.output;
        EXPECT_TRUE(together.output.contains("0 Errors, 0 Warnings, 0 Remarks")) << together.output;
        return contents(folder_ / "table.dsl");
    }

    fs::path folder_;
    AcpiTables tables_;
};

TEST_P(AcpiTablesTest, EachTableSurvivesIasl) {
    constexpr std::size_t header_bytes = 36;  // the compiler puts its own name in there
    for (const AcpiTables::Table& entry : tables_.tables) {
        SCOPED_TRACE(entry.signature);
        if (entry.signature == "RSD PTR ") continue;  // not a table to iasl
        there_and_back(entry.signature);
        const auto table = tables_.table(entry.signature);
        const std::string again = contents(folder_ / "again.aml");
        ASSERT_EQ(again.size(), table.size());
        EXPECT_EQ(std::memcmp(again.data() + header_bytes, table.data() + header_bytes, table.size() - header_bytes),
                  0);
    }
}

std::size_t count(const std::string& text, const std::string& part) {
    std::size_t found = 0;
    for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
    return found;
}

TEST_P(AcpiTablesTest, DevicesAreAsDescribed) {
    const PlatformDescription machine = GetParam();
    const bool pci = machine.pci == PciHost::present;
    const std::string source = there_and_back("DSDT");
    EXPECT_EQ(count(source, "\"ACPI0007\""), machine.cpus);
    EXPECT_EQ(count(source, "\"LNRO0005\""), machine.virtio_mmio_devices);
    EXPECT_EQ(count(source, "Interrupt (ResourceConsumer, Level, ActiveHigh, Shared"), machine.virtio_mmio_devices);
    EXPECT_EQ(count(source, "EisaId (\"PNP0501\")"), 1U);
    EXPECT_EQ(count(source, "Name (_S5, Package (0x04)"), 1U);
    EXPECT_EQ(count(source, "EisaId (\"PNP0A08\")"), pci ? 1U : 0U);
    EXPECT_EQ(count(source, "0xD1000000,         // Address Base"), pci ? 1U : 0U) << "ECAM is the motherboard's";
    EXPECT_EQ(count(source, "DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite"),
              pci ? 1U : 0U);
    EXPECT_EQ(count(source, "WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode"), pci ? 1U : 0U);
    EXPECT_EQ(count(source, "WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange"), pci ? 2U : 0U);
    EXPECT_EQ(count(source, "FFFF,"), pci ? 128U + 2U : 0U) << "interrupts of 32 devices, and two windows' ends";
}

INSTANTIATE_TEST_SUITE_P(
    Machines, AcpiTablesTest,
    testing::Values(PlatformDescription{}, PlatformDescription{.cpus = 1, .pci = PciHost::present},
                    PlatformDescription{.cpus = 2, .virtio_mmio_devices = 3},
                    PlatformDescription{.cpus = 2, .virtio_mmio_devices = 1, .pci = PciHost::present},
                    PlatformDescription{.cpus = 64},
                    PlatformDescription{
                        .cpus = 64, .virtio_mmio_devices = platform::max_virtio_mmio_devices, .pci = PciHost::present}),
    [](const testing::TestParamInfo<PlatformDescription>& machine) {
        return std::to_string(machine.param.cpus) + "cpus" + std::to_string(machine.param.virtio_mmio_devices) +
               "mmio" + (machine.param.pci == PciHost::present ? "pci" : "");
    });

}  // namespace
}  // namespace penumbra::vmm
