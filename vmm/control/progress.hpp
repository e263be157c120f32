// How far a run has come, while it runs: one self-replacing line on a terminal, a plain line now and then elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace penumbra::vmm {

struct ProgressState {
    double fraction = 0;  ///< of the run, from 0 to 1; less than 0 when the end is not known
    std::uint64_t pages_verified = 0;
    std::uint64_t resident_bytes = 0;
    std::uint64_t limbo_bytes = 0;
    std::uint64_t lz4_bytes = 0;
    std::uint64_t slow_bytes = 0;  ///< in the file and on the remote store
    std::uint64_t faults = 0;      ///< since the start
};

enum class ProgressStyle : std::uint8_t { bar, plain };

/// Used by one thread at a time. Callers may update as often as they like: the bar is drawn at most 10 times a second,
/// a plain line written at most every 5 s. No control codes are ever written in plain style.
class Progress {
public:
    using Clock = std::function<std::chrono::steady_clock::time_point()>;
    using Sink = std::function<void(std::string_view)>;

    Progress(ProgressStyle style, unsigned columns, Sink sink, Clock clock);
    /// For a stream, which must outlive it: a bar if it is a terminal, plain lines if not.
    [[nodiscard]] static Progress on(std::FILE* stream);
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;
    ~Progress() { finish(); }

    void update(const ProgressState& state);
    /// Takes the bar off the terminal, so that other lines can follow. A later update draws it again.
    void finish();

private:
    using TimePoint = std::chrono::steady_clock::time_point;

    [[nodiscard]] std::string line(const ProgressState& state, TimePoint now) const;
    void draw_bar(const ProgressState& state, std::string_view line);

    ProgressStyle style_;
    unsigned columns_;
    Sink sink_;
    Clock clock_;
    TimePoint started_;
    std::optional<TimePoint> written_;
    TimePoint rate_since_;
    std::uint64_t rate_faults_ = 0;
    double fault_rate_ = 0;  // per second, over the last second or more
    bool on_screen_ = false;
};

}  // namespace penumbra::vmm
