#include "vmm/control/progress.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "vmm/control/size_text.hpp"
#include "vmm/control/terminal.hpp"

namespace penumbra::vmm {

namespace {

using namespace std::chrono_literals;

constexpr auto bar_period = 100ms;
constexpr auto plain_period = 5s;
constexpr std::string_view clear_line = "\r\x1b[2K";
constexpr std::size_t most_bar_cells = 20;
constexpr std::size_t least_bar_cells = 5;
constexpr double longest_eta_s = 100.0 * 3600;

double seconds_of(std::chrono::steady_clock::duration span) { return std::chrono::duration<double>(span).count(); }

/// "12.5M" for "12.5 MiB": a bar has one line of the terminal for everything.
std::string compact_bytes(std::uint64_t bytes) {
    std::string text = human_bytes(bytes);
    const std::size_t space = text.find(' ');
    return text.substr(0, space) + text[space + 1];
}

std::string eta_text(double fraction, double elapsed_s) {
    if (!(fraction > 0) || elapsed_s <= 0) return {};
    const double left = elapsed_s * (1 - fraction) / fraction;
    if (left > longest_eta_s) return {};
    return ", " + human_duration(std::chrono::seconds{static_cast<std::int64_t>(std::ceil(left))}) + " left";
}

}  // namespace

Progress::Progress(ProgressStyle style, unsigned columns, Sink sink, Clock clock)
    : style_(style),
      columns_(columns),
      sink_(std::move(sink)),
      clock_(std::move(clock)),
      started_(clock_()),
      rate_since_(started_) {}

Progress Progress::on(std::FILE* stream) {
    const auto sink = [stream](std::string_view text) {
        // A closed stderr is no reason to stop a run.
        (void)std::fwrite(text.data(), 1, text.size(), stream);
        (void)std::fflush(stream);
    };
    const ProgressStyle style = is_terminal(stream) ? ProgressStyle::bar : ProgressStyle::plain;
    return {style, columns_of(stream), sink, [] { return std::chrono::steady_clock::now(); }};
}

std::string Progress::line(const ProgressState& state, TimePoint now) const {
    const double fraction = std::min(state.fraction, 1.0);
    const bool compact = style_ == ProgressStyle::bar;
    const auto size = [compact](std::uint64_t bytes) { return compact ? compact_bytes(bytes) : human_bytes(bytes); };
    std::string text;
    if (fraction >= 0) text = fmt::format("{:3.0f} %", std::floor(fraction * 100));
    text += eta_text(fraction, seconds_of(now - started_));
    if (!text.empty()) text += ", ";
    return text + fmt::format("{} pages verified, resident {}, limbo {}, compressed {}, stored {}, {} faults/s",
                              human_count(state.pages_verified), size(state.resident_bytes), size(state.limbo_bytes),
                              size(state.lz4_bytes), size(state.slow_bytes),
                              human_count(static_cast<std::uint64_t>(fault_rate_)));
}

void Progress::update(const ProgressState& state) {
    const TimePoint now = clock_();
    const auto period = style_ == ProgressStyle::bar ? std::chrono::milliseconds{bar_period} : plain_period;
    // The first plain line comes after a period, so that short runs stay silent.
    const TimePoint last = written_.value_or(style_ == ProgressStyle::bar ? now - period : started_);
    if (now - last < period) return;
    if (const auto span = now - rate_since_; span >= 1s) {
        const std::uint64_t faults = state.faults - std::min(state.faults, rate_faults_);
        fault_rate_ = static_cast<double>(faults) / seconds_of(span);
        rate_since_ = now;
        rate_faults_ = state.faults;
    }
    const std::string text = line(state, now);
    if (style_ == ProgressStyle::bar) {
        draw_bar(state, text);
    } else {
        sink_(text + "\n");
    }
    written_ = now;
}

void Progress::draw_bar(const ProgressState& state, std::string_view line) {
    // The bar takes what room the words leave; the words matter more.
    std::string text;
    const std::size_t taken = line.size() + std::string_view{"[] "}.size() + 1;
    const std::size_t cells = columns_ > taken ? std::min(columns_ - taken, most_bar_cells) : 0;
    if (state.fraction >= 0 && cells >= least_bar_cells) {
        const auto full = static_cast<std::size_t>(std::min(state.fraction, 1.0) * static_cast<double>(cells));
        text = "[" + std::string(full, '#') + std::string(cells - full, '.') + "] ";
    }
    text += line;
    // One cell stays free: a full line would wrap, and a wrapped line cannot be taken back.
    if (text.size() >= columns_) text.resize(columns_ == 0 ? 0 : columns_ - 1);
    sink_(std::string{clear_line} + text);
    on_screen_ = true;
}

void Progress::finish() {
    if (!on_screen_) return;
    sink_(clear_line);
    on_screen_ = false;
}

}  // namespace penumbra::vmm
