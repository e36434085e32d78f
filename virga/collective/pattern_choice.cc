#include "virga/collective/pattern_choice.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include <fmt/format.h>

#include "virga/base/error.h"

namespace virga {
namespace {

constexpr std::uint32_t kFewestPieces = 2;
constexpr std::uint32_t kUsuallyMostPieces = 8;
constexpr double kClearly = 0.9;  // of the default's time

std::uint64_t rounded(double number) { return static_cast<std::uint64_t>(std::llround(number)); }

/// One pattern's share of the theory: w members, m bytes of a contribution, s of the sum.
class Theory {
 public:
  Theory(const ChannelFigures& figures, const RoundSize& size)
      : f_(figures),
        w_(size.members),
        m_(size.contribution_bytes),
        s_(std::max(size.contribution_bytes, size.sum_bytes)) {}

  [[nodiscard]] PatternForecast of(Pattern pattern, std::uint32_t pieces) const {
    switch (pattern) {
      case Pattern::kLeader:
        return leader();
      case Pattern::kScatterReduce:
        return scatter_reduce();
      case Pattern::kAllToAll:
        return all_to_all();
      case Pattern::kTree:
        return tree();
      case Pattern::kPipelined:
        return pipelined(pieces);
    }
    return {};
  }

 private:
  /// A journey: members put and get `messages` more than one at most, `put` and `got` bytes each at most, one after the
  /// other; through the store pass `all` bytes.
  [[nodiscard]] double journey(double messages, double put, double got, double all) const {
    return f_.journey_seconds + messages * f_.message_seconds +
           std::max(put * f_.put_seconds_per_byte + got * f_.get_seconds_per_byte, all * f_.store_seconds_per_byte);
  }
  [[nodiscard]] double adding(double bytes) const { return bytes * f_.sum_seconds_per_byte; }
  [[nodiscard]] static Traffic traffic(double puts, double gets, double put, double got) {
    return {.messages_put = rounded(puts),
            .messages_got = rounded(gets),
            .bytes_put = rounded(put),
            .bytes_got = rounded(got)};
  }

  [[nodiscard]] PatternForecast leader() const {
    const auto seconds =
        journey(w_ - 2, m_, (w_ - 1) * m_, 2 * (w_ - 1) * m_) + adding(w_ * m_) + journey(0, s_, s_, w_ * s_);
    return {Pattern::kLeader, 1, seconds, traffic(w_, 2 * (w_ - 1), (w_ - 1) * m_ + s_, (w_ - 1) * (m_ + s_))};
  }

  [[nodiscard]] PatternForecast scatter_reduce() const {
    const auto others = (w_ - 1) / w_;
    const auto seconds = journey(w_ - 2, others * m_, others * m_, 2 * (w_ - 1) * m_) + adding(m_) +
                         journey(w_ - 2, s_ / w_, others * s_, w_ * s_);
    return {Pattern::kScatterReduce, 1, seconds,
            traffic(w_ * w_, 2 * w_ * (w_ - 1), (w_ - 1) * m_ + s_, (w_ - 1) * (m_ + s_))};
  }

  /// Both lines are busy at once, but for the first piece, which must be put before there is anything to get. Of the 2
  /// p puts two are under way at once, which hides the latencies of few and large ones.
  [[nodiscard]] PatternForecast pipelined(std::uint32_t pieces) const {
    const double p = pieces;
    const auto others = (w_ - 1) / w_;
    const auto up = (others * m_ + s_ / w_) * f_.put_seconds_per_byte;
    const auto down = others * (m_ + s_) * f_.get_seconds_per_byte;
    const auto store = (2 * (w_ - 1) * m_ + w_ * s_) * f_.store_seconds_per_byte;
    const auto puts = std::max(up, (p - 2) * f_.put_seconds + up / 2);
    const auto lines = std::max(std::max(puts, down) + std::min(up, down) / p, store);
    const auto seconds = 2 * f_.journey_seconds + (2 * p * (w_ - 1) - 2) * f_.message_seconds + lines + adding(m_);
    return {Pattern::kPipelined, pieces, seconds,
            traffic(p * w_ * w_, 2 * p * w_ * (w_ - 1), (w_ - 1) * m_ + s_, (w_ - 1) * (m_ + s_))};
  }

  [[nodiscard]] PatternForecast all_to_all() const {
    const auto seconds = journey(w_ - 2, m_, (w_ - 1) * m_, w_ * w_ * m_) + adding(w_ * m_);
    return {Pattern::kAllToAll, 1, seconds, traffic(w_, w_ * (w_ - 1), w_ * m_, w_ * (w_ - 1) * m_)};
  }

  /// Partial sums grow on their way, from m to s bytes.
  [[nodiscard]] PatternForecast tree() const {
    const auto levels = static_cast<int>(std::bit_width(static_cast<std::uint32_t>(w_) - 1));
    double seconds = 0, bytes = 0;
    for (int level = 0; level < levels; ++level) {
      const auto part = m_ * std::pow(s_ / m_, level / static_cast<double>(levels));
      const auto senders = std::floor((w_ - 1 + std::exp2(level)) / std::exp2(level + 1));
      seconds += journey(0, part, part, 2 * senders * part) + adding(2 * part);
      bytes += senders * part;
    }
    seconds += journey(0, s_, s_, w_ * s_);
    return {Pattern::kTree, 1, seconds, traffic(w_, 2 * (w_ - 1), bytes + s_, bytes + (w_ - 1) * s_)};
  }

  const ChannelFigures f_;
  const double w_, m_, s_;
};

std::string time_text(double seconds) {
  return seconds < 1 ? fmt::format("{:.3g} ms", 1e3 * seconds) : fmt::format("{:.3g} s", seconds);
}
std::string rate_text(double seconds_per_byte) {
  if (seconds_per_byte <= 0) return "at once";
  return fmt::format("{:.3g} MB/s", 1e-6 / seconds_per_byte);
}
std::string size_text(double bytes) {
  return bytes < 1e6 ? fmt::format("{:.3g} kB", bytes / 1e3) : fmt::format("{:.4g} MB", bytes / 1e6);
}
std::string price_text(const PatternForecast& forecast) {
  return forecast.requests ? fmt::format(" and {}", format_usd(*forecast.requests)) : std::string();
}
std::string name_text(const PatternForecast& forecast) {
  auto name = std::string(to_string(forecast.pattern));
  return forecast.pattern == Pattern::kPipelined ? fmt::format("{} ({} pieces)", name, forecast.pieces) : name;
}

}  // namespace

PatternForecast forecast(Pattern pattern, std::uint32_t pieces, const ChannelFigures& figures, const RoundSize& size) {
  check(size.members >= 2 && size.contribution_bytes > 0, "a forecast is of members that have something to add up");
  return Theory(figures, size).of(pattern, pieces);
}

std::uint32_t usual_pieces(const RoundSize& size) noexcept {
  constexpr double kPieceBytes = 256 << 10;
  const auto pieces = size.contribution_bytes / size.members / kPieceBytes;
  return static_cast<std::uint32_t>(std::clamp(pieces, double{kFewestPieces}, double{kUsuallyMostPieces}));
}

PatternChoice choose_pattern(std::span<const Pattern> candidates, const ChannelFigures& figures,
                             const RoundSize& size) {
  check(!candidates.empty(), "a pattern is chosen of some");
  PatternChoice choice{.figures = figures, .size = size};
  for (const auto pattern : candidates) {
    auto best = forecast(pattern, kFewestPieces, figures, size);
    for (auto pieces = 2 * kFewestPieces; pattern == Pattern::kPipelined && pieces <= kUsuallyMostPieces; pieces *= 2) {
      const auto other = forecast(pattern, pieces, figures, size);
      if (other.seconds < best.seconds) best = other;
    }
    choice.forecasts.push_back(best);
  }
  auto& all = choice.forecasts;
  std::ranges::stable_sort(all, {}, &PatternForecast::seconds);
  auto chosen = all.front();
  const auto usual = std::ranges::find(all, default_pattern(size.members), &PatternForecast::pattern);
  if (usual != all.end() && chosen.seconds > kClearly * usual->seconds) chosen = *usual;
  choice.pattern = chosen.pattern;
  choice.pieces = chosen.pieces;
  return choice;
}

std::string choice_text(const PatternChoice& choice) {
  const auto name = std::string(to_string(choice.pattern));
  if (!choice.failure.empty()) return fmt::format("{}, unmeasured: {}", name, choice.failure);
  std::string chosen, others;
  for (const auto& one : choice.forecasts) {
    if (one.pattern == choice.pattern) {
      chosen = fmt::format("{}: {}{} a round expected", name_text(one), time_text(one.seconds), price_text(one));
      continue;
    }
    others +=
        fmt::format("{}{} {}{}", others.empty() ? "; " : ", ", name_text(one), time_text(one.seconds), price_text(one));
  }
  const auto& figures = choice.figures;
  return fmt::format("{}{} (a message takes {}, bytes go at {} up and {} down; {} to send, {} to get)", chosen, others,
                     time_text(figures.journey_seconds), rate_text(figures.put_seconds_per_byte),
                     rate_text(figures.get_seconds_per_byte), size_text(choice.size.contribution_bytes),
                     size_text(choice.size.sum_bytes));
}

}  // namespace virga
