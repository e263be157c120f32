#include <gtest/gtest.h>

#include <cerrno>
#include <memory>

#include "base/result.hpp"

namespace penumbra {
namespace {

TEST(Result, MessageNamesActObjectCauseAndCure) {
    const Error error{"open the swap file", "/x", ENOSPC, "free some space"};
    EXPECT_EQ(error.message(), "cannot open the swap file /x: No space left on device; free some space");
}

TEST(Result, MessageLeavesOutWhatIsNotKnown) {
    EXPECT_EQ((Error{"pause the machine", {}, 0, {}}).message(), "cannot pause the machine");
    EXPECT_EQ((Error{"read", "page 7", 0, {}}).message(), "cannot read page 7");
}

TEST(Result, FailErrnoKeepsTheNumberOfTheCallThatFailed) {
    errno = EBUSY;
    const Result<> result = fail_errno("move", "page 3");
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().error_number, EBUSY);
}

TEST(Result, FailHasNoErrnoEvenWhenOneIsLeftOver) {
    errno = EBUSY;
    const Result<> result = fail("parse", "64Q", "write a size such as 64M");
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().message(), "cannot parse 64Q; write a size such as 64M");
}

Result<> check_even(int number) {
    if (number % 2 != 0) return fail("halve", std::to_string(number));
    return {};
}

Result<std::unique_ptr<int>> half(int number) {
    PENUMBRA_TRY(check_even(number));
    return std::make_unique<int>(number / 2);
}

Result<int> quarter(int number) {
    PENUMBRA_TRY_ASSIGN(const auto once, half(number));
    PENUMBRA_TRY_ASSIGN(const auto twice, half(*once));
    return *twice;
}

TEST(Result, TryPassesValuesOnAndErrorsUp) {
    EXPECT_EQ(quarter(12), 3);
    const Result<int> odd = quarter(6);
    ASSERT_FALSE(odd);
    EXPECT_EQ(odd.error().object, "3");
}

}  // namespace
}  // namespace penumbra
