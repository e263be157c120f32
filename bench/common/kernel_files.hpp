// The kernel's small text files: settings and counters.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace penumbra::bench {

/// All of a small text file, without its last line end.
[[nodiscard]] Result<std::string> read_text(const std::string& path);
[[nodiscard]] Result<> write_text(const std::string& path, std::string_view text);
/// The number after `key` in a file of lines "key number".
[[nodiscard]] Result<std::uint64_t> read_counter(const std::string& path, std::string_view key);

/// CPU seconds that the kernel's reclaim threads (kswapd, kcompactd) have taken since boot, to a hundredth each.
[[nodiscard]] double reclaim_thread_seconds();

/// A setting that has its old value back when the object goes.
class SavedSetting {
public:
    [[nodiscard]] static Result<SavedSetting> open(std::string path);
    SavedSetting(SavedSetting&& other) noexcept = default;
    SavedSetting& operator=(SavedSetting&&) = delete;
    ~SavedSetting();

    [[nodiscard]] Result<> set(std::string_view value) const { return write_text(path_, value); }

private:
    SavedSetting(std::string path, std::string old) : path_(std::move(path)), old_(std::move(old)) {}
    std::string path_;  // empty once moved from
    std::optional<std::string> old_;
};

}  // namespace penumbra::bench
