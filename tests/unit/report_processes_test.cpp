// What the report says about an accelerator that worked for guest processes.
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <string>

#include "vmm/control/report.hpp"

namespace penumbra::vmm {
namespace {

namespace json = boost::json;

RunReport sample() {
    RunReport report;
    report.accelerator.commands = 40;
    report.accelerator.processes = {.commands = 31,
                                    .faults = 32,
                                    .guest_faults = 33,
                                    .guest_requests = 34,
                                    .waits = 35,
                                    .cooperative = 36,
                                    .broken_watches = 37,
                                    .broken_in_use = 38,
                                    .tlb = {.fills = 41, .flushes = 42}};
    return report;
}

TEST(ReportOfProcesses, EachNumberHasItsName) {
    const json::value root = json::parse(to_json(sample()));
    const json::value& processes = root.at_pointer("/accelerator/processes");
    int expected = 31;
    for (const char* name : {"commands", "faults", "guest_faults", "guest_requests", "waits", "cooperative",
                             "broken_watches", "broken_in_use"}) {
        EXPECT_EQ(processes.at(name).to_number<int>(), expected++) << name;
    }
    EXPECT_EQ(processes.at_pointer("/tlb/fills").to_number<int>(), 41);
    EXPECT_EQ(processes.at_pointer("/tlb/flushes").to_number<int>(), 42);
}

TEST(ReportOfProcesses, TheTableHasThemWhereThereWereAny) {
    const std::string with = closing_table(sample(), Colour::off);
    EXPECT_NE(with.find("31 commands, 32 faults, 34 page requests to the guest, 35 waits"), std::string::npos) << with;
    EXPECT_NE(with.find("37 written, 38 while the device was at work; 36 processes left unwatched"), std::string::npos);
    RunReport without = sample();
    without.accelerator.processes = {};
    EXPECT_EQ(closing_table(without, Colour::off).find("of processes"), std::string::npos);
}

}  // namespace
}  // namespace penumbra::vmm
