// The guest walk against QEMU's processor (TCG, -cpu max), which has what the machine's own KVM may lack: protection
// keys for user and supervisor pages, 1 GiB pages. Guest RAM is a file, so that cases go in and results come out.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>

#include "guest-images/common/machine_abi.hpp"
#include "tests/walk/image_cases.hpp"
#include "tests/walk/tcg_boot.hpp"

namespace penumbra::test::tcg_image_test {
namespace {

namespace fs = std::filesystem;

class TcgWalkImage : public testing::Test {
protected:
    void SetUp() override {
        if (std::system("qemu-system-x86_64 --version >/dev/null 2>&1") != 0) {
            GTEST_SKIP() << "there is no qemu-system-x86_64";
        }
        std::string pattern = (fs::path(testing::TempDir()) / "walk-XXXXXX").string();
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        folder_ = pattern;
        std::ofstream(ram()).close();
        fs::resize_file(ram(), image::ram_bytes);
        const std::vector<std::byte> kernel = tcg_kernel();
        std::ofstream(folder_ / "kernel", std::ios::binary)
            .write(reinterpret_cast<const char*>(kernel.data()), static_cast<std::streamsize>(kernel.size()));
    }
    void TearDown() override {
        if (!folder_.empty()) fs::remove_all(folder_);
    }

    /// Runs the image to its end; the exit status of the image, or -1.
    [[nodiscard]] int run(const image::Control& control, std::span<const image::Case> cases) {
        std::ifstream file(PENUMBRA_GUEST_IMAGES "/walk_sweep", std::ios::binary);
        const std::vector<char> flat{std::istreambuf_iterator<char>(file), {}};
        put(abi::image_base, std::vector<char>(image::root_table - abi::image_base));
        put(abi::image_base, flat);
        put(tcg_tables_base, tcg_tables(static_cast<unsigned>(control.levels)));
        put(image::control_block, std::span(&control, 1));
        put(image::cases_base, cases);
        const std::string command =
            "timeout 500 qemu-system-x86_64 -accel tcg -cpu max -m 128M -machine pc,memory-backend=ram -nodefaults "
            "-display none -no-reboot -serial stdio -device isa-debug-exit,iobase=0xf4,iosize=4 "
            "-object memory-backend-file,id=ram,size=128M,share=on,mem-path=" +
            ram().string() + " -kernel " + (folder_ / "kernel").string() + " </dev/null";
        const int status = std::system(command.c_str());
        if (!WIFEXITED(status) || WEXITSTATUS(status) % 2 == 0) return -1;
        return WEXITSTATUS(status) / 2;  // as isa-debug-exit makes it
    }
    [[nodiscard]] image::Control control() { return take<image::Control>(image::control_block, 1).front(); }
    [[nodiscard]] std::vector<image::CaseResult> results(std::uint64_t count) {
        return take<image::CaseResult>(image::results_base, count);
    }

    /// What the processor can do, at so many levels.
    void ask(std::uint64_t levels) {
        image::Control asked{};
        asked.magic = image::control_magic;
        asked.levels = levels;
        ASSERT_EQ(run(asked, {}), 0);
        features_ = control();
    }
    void expect_agreement(std::span<const SweepCase> cases, ImageVerdict& verdict) {
        std::vector<image::Case> encoded;
        for (const SweepCase& made : cases) encoded.push_back(encode(made));
        image::Control asked = features_;
        asked.cases = cases.size();
        ASSERT_EQ(run(asked, encoded), 0);
        ASSERT_EQ(control().done, cases.size());
        verdict += judge(cases, results(cases.size()),
                         {.reserved_without_present = true, .no_key_for_user_on_supervisor_page = true});
    }
    void tell(const ImageVerdict& verdict, std::chrono::steady_clock::time_point start) const {
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        std::printf("             %s; %.1f s\n", summary(verdict, features_, "QEMU TCG, -cpu max").c_str(), seconds);
        EXPECT_EQ(verdict.differences, 0U);
        for (const std::string& words : verdict.first) ADD_FAILURE() << words;
    }

    image::Control features_{};

private:
    [[nodiscard]] fs::path ram() const { return folder_ / "ram"; }
    template <class Range>
    void put(std::uint64_t gpa, const Range& range) {
        const auto bytes = std::as_bytes(std::span(range));
        std::fstream file(ram(), std::ios::binary | std::ios::in | std::ios::out);
        file.seekp(static_cast<std::streamoff>(gpa));
        file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    }
    template <class T>
    [[nodiscard]] std::vector<T> take(std::uint64_t gpa, std::uint64_t count) {
        std::vector<T> found(count);
        std::ifstream file(ram(), std::ios::binary);
        file.seekg(static_cast<std::streamoff>(gpa));
        file.read(reinterpret_cast<char*>(found.data()), static_cast<std::streamsize>(count * sizeof(T)));
        return found;
    }

    fs::path folder_;
};

class TcgWalkImageLevels : public TcgWalkImage, public testing::WithParamInterface<std::uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Each, TcgWalkImageLevels, testing::Values(4, 5),
                         [](const auto& test) { return "levels_" + std::to_string(test.param); });

TEST_P(TcgWalkImageLevels, ProcessorAgreesWithTheWalk) {
    ASSERT_NO_FATAL_FAILURE(ask(GetParam()));
    const auto start = std::chrono::steady_clock::now();
    ImageVerdict verdict;
    expect_agreement(image_cases(features_, image_case_count(), 2), verdict);
    tell(verdict, start);
}

// All of kvm-unit-tests' x86/access.c at this processor's MAXPHYADDR.
TEST_P(TcgWalkImageLevels, ProcessorAgreesOnEveryAccessCase) {
    ASSERT_NO_FATAL_FAILURE(ask(GetParam()));
    const AccessSweep sweep(static_cast<Level>(GetParam()), static_cast<std::uint8_t>(features_.physical_bits));
    const auto start = std::chrono::steady_clock::now();
    ImageVerdict verdict;
    std::vector<SweepCase> batch;
    for (std::uint64_t number = 0; number < sweep.size() && !HasFailure(); ++number) {
        const std::optional<SweepCase> made = image_case(features_, sweep.at(number));
        ASSERT_TRUE(made) << "this processor cannot be asked case " << number;
        batch.push_back(*made);
        if (batch.size() < image::most_cases && number + 1 < sweep.size()) continue;
        expect_agreement(batch, verdict);
        batch.clear();
    }
    EXPECT_EQ(verdict.cases, sweep.size());
    tell(verdict, start);
}

}  // namespace
}  // namespace penumbra::test::tcg_image_test
