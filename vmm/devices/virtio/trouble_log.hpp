// Complaints about a guest that the guest must not be able to flood anybody with.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace penumbra::vmm {

/// One thread. Says the first complaint at once, then at most one per `interval`, with the number left out since.
class TroubleLog {
public:
    using Say = std::function<void(std::string_view)>;
    static constexpr std::chrono::seconds interval{10};

    explicit TroubleLog(Say say) : say_(std::move(say)) {}
    void complain(std::string_view what, std::chrono::steady_clock::time_point now = std::chrono::steady_clock::now());
    [[nodiscard]] std::uint64_t complaints() const { return complaints_; }

private:
    Say say_;
    std::optional<std::chrono::steady_clock::time_point> last_;
    std::uint64_t complaints_ = 0;
    std::uint64_t left_out_ = 0;
};

}  // namespace penumbra::vmm
