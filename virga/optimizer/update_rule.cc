#include "virga/optimizer/update_rule.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "virga/base/error.h"
#include "virga/math/elementary.h"

namespace virga {
namespace {

/// r^n and r + r^2 + ... + r^n over the bits of n, highest first.
struct Powers {
  double power = 1;
  double sum = 0;
};
Powers powers(double r, std::uint32_t n) noexcept {
  Powers result;
  for (int bit = std::bit_width(n) - 1; bit >= 0; --bit) {
    result.sum += result.power * result.sum;
    result.power *= result.power;
    if ((n >> bit & 1U) != 0) {
      result.power *= r;
      result.sum += result.power;
    }
  }
  return result;
}

double shrink(double w, double by) noexcept {
  const double left = std::abs(w) - by;
  return left > 0 ? std::copysign(left, w) : 0.0;
}

/// n proximal steps of an elastic net with step size a: w <- S(w, a l1) / (1 + a l2).
float prox_steps(float w, double a, double l1, double l2, std::uint32_t n) noexcept {
  const auto p = powers(1 / (1 + a * l2), n);
  return static_cast<float>(shrink(p.power * double{w}, a * l1 * p.sum));
}

/// The linear map of one untouched round of momentum on (w, v), to the power n.
struct Map {
  double ww = 1, wv = 0, vw = 0, vv = 1;
  [[nodiscard]] Map after(const Map& b) const noexcept {  // first b, then this
    return {ww * b.ww + wv * b.vw, ww * b.wv + wv * b.vv, vw * b.ww + vv * b.vw, vw * b.wv + vv * b.vv};
  }
};
Map power(Map base, std::uint32_t n) noexcept {
  Map result;
  for (; n != 0; n >>= 1, base = base.after(base)) {
    if ((n & 1U) != 0) result = result.after(base);
  }
  return result;
}

/// An untouched round (g = 0) of momentum: u = l2 w; v <- m v + u; w <- w - rate (v, or u + m v for Nesterov).
Map untouched(const UpdateRuleOptions& o, double l2) noexcept {
  const double m = o.momentum;
  const double rate = o.learning_rate;
  if (o.kind == RuleKind::kMomentum) return {1 - rate * l2, -rate * m, l2, m};
  return {1 - rate * (l2 + m * l2), -rate * m * m, l2, m};
}

}  // namespace

UpdateRule::UpdateRule(const Layout& layout, const UpdateRuleOptions& options) : options_(options) {
  const auto& o = options_;
  const bool plain_l1 = o.kind == RuleKind::kMomentum || o.kind == RuleKind::kNesterov;
  if (plain_l1 && o.l1 > 0) {
    throw Error(ErrorKind::kUnsupported, "l1 with momentum has no closed form for rows that a round does not touch",
                "use --optimizer adagrad or sgd with --l1");
  }
  for (const auto& table : layout) {
    State state;
    state.l1 = table.regularised ? o.l1 : 0;
    state.l2 = table.regularised ? o.l2 : 0;
    const bool penalty = state.l1 > 0 || state.l2 > 0;
    if (o.kind != RuleKind::kSgd) state.first.resize(table.size());
    if (o.kind == RuleKind::kAdam) state.second.resize(table.size());
    state.lazy = table.sparse && (o.kind == RuleKind::kSgd || o.kind == RuleKind::kAdagrad ? penalty : true);
    if (state.lazy) state.touched.resize(table.rows);
    states_.push_back(std::move(state));
  }
}

float UpdateRule::value_at(const State& s, std::size_t i, float w, std::uint32_t rounds) const noexcept {
  const auto& o = options_;
  if (rounds == 0) return w;
  switch (o.kind) {
    case RuleKind::kSgd: {
      const auto p = powers(1 - o.learning_rate * s.l2, rounds);
      const double sum = (p.sum - p.power) + 1;  // 1 + r + ... + r^(n-1)
      return static_cast<float>(shrink(p.power * double{w}, o.learning_rate * s.l1 * sum));
    }
    case RuleKind::kMomentum:
    case RuleKind::kNesterov: {
      const auto map = power(untouched(o, s.l2), rounds);
      return static_cast<float>(map.ww * double{w} + map.wv * double{s.first[i]});
    }
    case RuleKind::kAdagrad: {
      if (s.l1 == 0 && s.l2 == 0) return w;
      return prox_steps(w, o.learning_rate / std::sqrt(double{s.first[i]} + o.epsilon), s.l1, s.l2, rounds);
    }
    case RuleKind::kAdam:
      return w;
  }
  return w;
}

void UpdateRule::advance(State& s, std::size_t i, float& w, std::uint32_t rounds) const noexcept {
  if (rounds == 0) return;
  const auto& o = options_;
  const float before = w;
  w = value_at(s, i, before, rounds);
  if (o.kind == RuleKind::kMomentum || o.kind == RuleKind::kNesterov) {
    const auto map = power(untouched(o, s.l2), rounds);
    s.first[i] = static_cast<float>(map.vw * double{before} + map.vv * double{s.first[i]});
  } else if (o.kind == RuleKind::kAdam) {
    s.first[i] = static_cast<float>(double{s.first[i]} * powers(o.beta1, rounds).power);
    s.second[i] = static_cast<float>(double{s.second[i]} * powers(o.beta2, rounds).power);
  }
}

void UpdateRule::step(State& s, std::size_t i, float& w, float gradient, std::uint64_t round) const noexcept {
  const auto& o = options_;
  const double g = gradient;
  const double rate = o.learning_rate;
  switch (o.kind) {
    case RuleKind::kSgd:
      w = static_cast<float>(shrink(w - rate * (g + s.l2 * w), rate * s.l1));
      return;
    case RuleKind::kMomentum:
    case RuleKind::kNesterov: {
      const double u = g + s.l2 * double{w};
      const double v = o.momentum * double{s.first[i]} + u;
      s.first[i] = static_cast<float>(v);
      w = static_cast<float>(w - rate * (o.kind == RuleKind::kMomentum ? v : u + o.momentum * v));
      return;
    }
    case RuleKind::kAdagrad: {
      const double sum = double{s.first[i]} + g * g;
      s.first[i] = static_cast<float>(sum);
      const double a = rate / std::sqrt(sum + o.epsilon);
      const double moved = w - a * g;
      w = static_cast<float>(s.l1 == 0 && s.l2 == 0 ? moved : shrink(moved, a * s.l1) / (1 + a * s.l2));
      return;
    }
    case RuleKind::kAdam: {
      const double u = g + s.l2 * double{w};
      const double m = o.beta1 * double{s.first[i]} + (1 - o.beta1) * u;
      const double v = o.beta2 * double{s.second[i]} + (1 - o.beta2) * u * u;
      s.first[i] = static_cast<float>(m);
      s.second[i] = static_cast<float>(v);
      const auto t = static_cast<std::uint32_t>(round + 1);
      const double a = rate / (1 - powers(o.beta1, t).power);
      const double scale = std::sqrt(v / (1 - powers(o.beta2, t).power)) + o.epsilon;
      w = static_cast<float>(shrink(w - a * m / scale, rate * s.l1 / scale));
      return;
    }
  }
}

void UpdateRule::read(std::uint64_t round, const Tables& parameters, std::size_t table,
                      std::span<const std::uint32_t> keys, std::span<float> out) const {
  const auto& s = states_[table];
  const auto& values = parameters.values[table];
  const std::size_t width = parameters.layout[table].width;
  for (std::size_t k = 0; k < keys.size(); ++k) {
    const auto rounds = s.lazy ? static_cast<std::uint32_t>(round) - s.touched[keys[k]] : 0U;
    for (std::size_t c = 0; c < width; ++c) {
      const auto i = keys[k] * width + c;
      out[k * width + c] = value_at(s, i, values[i], rounds);
    }
  }
}

void UpdateRule::apply(std::uint64_t round, Tables& parameters, std::size_t table, std::span<const std::uint32_t> keys,
                       std::span<const float> gradient) {
  auto& s = states_[table];
  auto& values = parameters.values[table];
  const std::size_t width = parameters.layout[table].width;
  for (std::size_t k = 0; k < keys.size(); ++k) {
    const auto rounds = s.lazy ? static_cast<std::uint32_t>(round) - s.touched[keys[k]] : 0U;
    for (std::size_t c = 0; c < width; ++c) {
      const auto i = keys[k] * width + c;
      advance(s, i, values[i], rounds);
      step(s, i, values[i], gradient[k * width + c], round);
    }
    if (s.lazy) s.touched[keys[k]] = static_cast<std::uint32_t>(round) + 1;
  }
}

void UpdateRule::apply_whole(std::uint64_t round, Tables& parameters, std::size_t table,
                             std::span<const float> gradient) {
  auto& values = parameters.values[table];
  for (std::size_t i = 0; i < values.size(); ++i) step(states_[table], i, values[i], gradient[i], round);
}

void UpdateRule::catch_up(std::uint64_t round, Tables& parameters, std::size_t table, std::uint32_t first,
                          std::uint32_t last) {
  auto& s = states_[table];
  if (!s.lazy) return;
  const std::size_t width = parameters.layout[table].width;
  for (auto row = first; row < last; ++row) {
    const auto rounds = static_cast<std::uint32_t>(round) - s.touched[row];
    for (std::size_t c = 0; c < width; ++c)
      advance(s, row * width + c, parameters.values[table][row * width + c], rounds);
    s.touched[row] = static_cast<std::uint32_t>(round);
  }
}

void UpdateRule::scale_accumulators(double factor) {
  if (options_.kind != RuleKind::kAdagrad) return;
  for (auto& s : states_) {
    for (auto& sum : s.first) sum = static_cast<float>(double{sum} * factor);
  }
}

}  // namespace virga
