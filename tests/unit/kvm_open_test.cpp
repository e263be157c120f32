#include <gtest/gtest.h>

#include <string>

#include "vmm/kvm/kvm.hpp"

namespace penumbra::vmm {
namespace {

TEST(KvmOpen, MissingDeviceSaysHowToGetIt) {
    const auto kvm = Kvm::open("/nonexistent/kvm");
    ASSERT_FALSE(kvm);
    const std::string message = kvm.error().message();
    EXPECT_NE(message.find("/nonexistent/kvm: No such file"), std::string::npos) << message;
    EXPECT_NE(message.find("kvm_intel"), std::string::npos) << message;
}

TEST(KvmOpen, AnotherDeviceIsNotKvm) {
    const auto kvm = Kvm::open("/dev/null");
    ASSERT_FALSE(kvm);
    EXPECT_NE(kvm.error().message().find("as KVM"), std::string::npos) << kvm.error().message();
}

}  // namespace
}  // namespace penumbra::vmm
