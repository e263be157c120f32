// Options that pass every check, in a folder of their own, to be spoilt one at a time.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>

#include "base/address.hpp"
#include "vmm/control/run_options.hpp"

namespace penumbra::vmm {

class RunOptionsTest : public ::testing::Test {
protected:
    RunOptionsTest() {
        EXPECT_NE(::mkdtemp(folder_.data()), nullptr);
        std::ofstream{at("image")} << "an image";
        std::ofstream{at("payload")} << "a payload";
    }
    ~RunOptionsTest() override { std::filesystem::remove_all(folder_); }

    [[nodiscard]] std::string at(const std::string& name) const {
        return (std::filesystem::path{folder_} / name).string();
    }
    [[nodiscard]] RunOptions good() const {
        RunOptions options;
        options.image = at("image");
        options.payload = {at("payload")};
        return options;
    }
    [[nodiscard]] std::ptrdiff_t entries() const {
        return std::distance(std::filesystem::directory_iterator{folder_}, {});
    }

    /// The options, after `change`, are refused with an error that holds `part` and a cure, and leave nothing behind.
    void expect_refused(const std::function<void(RunOptions&)>& change, const std::string& part) const {
        RunOptions options = good();
        change(options);
        const auto before = entries();
        const auto checked = validate(options);
        EXPECT_EQ(entries(), before);
        ASSERT_FALSE(checked) << part;
        EXPECT_NE(checked.error().message().find(part), std::string::npos) << checked.error().message();
        EXPECT_FALSE(checked.error().cure.empty()) << checked.error().message();
    }

    std::string folder_ = (std::filesystem::temp_directory_path() / "penumbra-run-XXXXXX").string();
};

}  // namespace penumbra::vmm
