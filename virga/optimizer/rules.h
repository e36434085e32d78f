#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "virga/optimizer/chunk.h"
#include "virga/optimizer/elastic_net.h"
#include "virga/optimizer/linear_map.h"

namespace virga {

// The rules for one table and one step. Each has kStates state arrays and two members:
//   catch_up(chunk): the chunk's untouched steps, all at once; what is not behind keeps its bits, a zero its sign;
//   step(chunk, gradient): one step, gradient [elements].
// The loops are elementwise, and in single precision but for the catching up, which is in double. They are inlined into
// the versions for each vector width (chunk_kernels.h).

/// w <- S(w - rate (g + l2 w), rate l1), with S the soft threshold. Needs rate l2 < 1.
struct SgdRule {
  static constexpr std::size_t kStates = 0;
  double rate;
  ElasticNet penalty;

  [[gnu::always_inline]] inline void catch_up(Chunk& chunk) const noexcept {
    const auto size = chunk.size();
    if (penalty.l2 > 0) {
      // 1 - rate l2 = 1 / (1 + y)
      const double y = rate * penalty.l2 / (1 - rate * penalty.l2);
      const double logarithm = log1p_positive(y), ratio = penalty.l1 / penalty.l2;
      for (std::size_t i = 0; i < size; ++i) {
        const float w = decay_steps(chunk.w[i], chunk.behind[i], logarithm, ratio);
        chunk.w[i] = chunk.behind[i] == 0 ? chunk.w[i] : w;
      }
    } else {
      const double a_l1 = rate * penalty.l1;
      for (std::size_t i = 0; i < size; ++i) {
        const float w = threshold_steps(chunk.w[i], chunk.behind[i], a_l1);
        chunk.w[i] = chunk.behind[i] == 0 ? chunk.w[i] : w;
      }
    }
  }
  [[gnu::always_inline]] inline void step(Chunk& chunk, const float* gradient) const noexcept {
    const auto size = chunk.size();
    const auto a = static_cast<float>(rate), l2 = static_cast<float>(penalty.l2);
    const auto a_l1 = static_cast<float>(rate * penalty.l1);
    if (penalty.empty()) {
      for (std::size_t i = 0; i < size; ++i) chunk.w[i] -= a * gradient[i];
    } else {
      for (std::size_t i = 0; i < size; ++i) {
        const float moved = chunk.w[i] - a * (gradient[i] + l2 * chunk.w[i]);
        chunk.w[i] = at_distance(moved, std::abs(moved) - a_l1);
      }
    }
  }
};

/// G <- G + g^2; w <- prox(w - a g) with the coordinate's own step size a = rate / sqrt(G + epsilon).
struct AdagradRule {
  static constexpr std::size_t kStates = 1;
  double rate;
  double epsilon;
  ElasticNet penalty;

  [[gnu::always_inline]] inline void catch_up(Chunk& chunk) const noexcept {
    const auto size = chunk.size();
    const auto r = static_cast<float>(rate), e = static_cast<float>(epsilon);
    if (penalty.l2 > 0) {
      const double l2 = penalty.l2, ratio = penalty.l1 / penalty.l2;
      for (std::size_t i = 0; i < size; ++i) {
        const double a = r / std::sqrt(chunk.s1[i] + e);
        const float w = decay_steps(chunk.w[i], chunk.behind[i], log1p_positive(a * l2), ratio);
        chunk.w[i] = chunk.behind[i] == 0 ? chunk.w[i] : w;
      }
    } else {
      const double l1 = penalty.l1;
      for (std::size_t i = 0; i < size; ++i) {
        const double a = r / std::sqrt(chunk.s1[i] + e);
        const float w = threshold_steps(chunk.w[i], chunk.behind[i], a * l1);
        chunk.w[i] = chunk.behind[i] == 0 ? chunk.w[i] : w;
      }
    }
  }
  [[gnu::always_inline]] inline void step(Chunk& chunk, const float* gradient) const noexcept {
    const auto size = chunk.size();
    const auto r = static_cast<float>(rate), e = static_cast<float>(epsilon);
    const auto l1 = static_cast<float>(penalty.l1), l2 = static_cast<float>(penalty.l2);
    const bool plain = penalty.empty();
    for (std::size_t i = 0; i < size; ++i) {
      const float g = gradient[i];
      const float sum = chunk.s1[i] + g * g;
      const float a = r / std::sqrt(sum + e);
      const float moved = chunk.w[i] - a * g;
      chunk.s1[i] = sum;
      chunk.w[i] = plain ? moved : prox(moved, a * l1, a * l2);
    }
  }
};

/// u = g + l2 w; v <- momentum v + u; w <- w - rate v, or with Nesterov w - rate (u + momentum v). Linear in (w, v), so
/// n untouched steps (g = 0) are the n-th power of one.
struct MomentumRule {
  static constexpr std::size_t kStates = 1;
  double rate;
  double momentum;
  double l2;
  bool nesterov;
  const MapPowers* powers;  ///< of untouched()

  [[nodiscard]] LinearMap untouched() const noexcept {
    if (nesterov) return {1 - rate * l2 * (1 + momentum), -rate * momentum * momentum, l2, momentum};
    return {1 - rate * l2, -rate * momentum, l2, momentum};
  }
  [[gnu::always_inline]] inline void catch_up(Chunk& chunk) const noexcept {
    for (std::size_t row = 0; row < chunk.rows; ++row) {
      const std::size_t begin = row * chunk.columns, end = begin + chunk.columns;
      if (chunk.behind[begin] == 0) continue;
      const auto n = (*powers)(static_cast<std::uint32_t>(chunk.behind[begin]));
      for (std::size_t i = begin; i < end; ++i) {
        const double w = chunk.w[i], v = chunk.s1[i];
        chunk.w[i] = static_cast<float>(n.aa * w + n.ab * v);
        chunk.s1[i] = static_cast<float>(n.ba * w + n.bb * v);
      }
    }
  }
  [[gnu::always_inline]] inline void step(Chunk& chunk, const float* gradient) const noexcept {
    const auto size = chunk.size();
    const auto r = static_cast<float>(rate), m = static_cast<float>(momentum), l = static_cast<float>(l2);
    const bool ahead = nesterov;
    for (std::size_t i = 0; i < size; ++i) {
      const float u = gradient[i] + l * chunk.w[i];
      const float v = m * chunk.s1[i] + u;
      chunk.s1[i] = v;
      chunk.w[i] -= r * (ahead ? u + m * v : v);
    }
  }
};

/// m <- beta1 m + (1 - beta1) g; v <- beta2 v + (1 - beta2) g^2; w <- prox(w - a m) with the coordinate's own step size
/// a = rate / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon), of which the prox takes the part without beta1.
/// Untouched steps decay m and v and leave w.
struct AdamRule {
  static constexpr std::size_t kStates = 2;
  double rate;
  double beta1;
  double beta2;
  double epsilon;
  ElasticNet penalty;
  std::uint64_t t;          ///< number of this step, from 1
  const MapPowers* powers;  ///< of (beta1 m, beta2 v)

  [[gnu::always_inline]] inline void catch_up(Chunk& chunk) const noexcept {
    for (std::size_t row = 0; row < chunk.rows; ++row) {
      const std::size_t begin = row * chunk.columns, end = begin + chunk.columns;
      const auto n = (*powers)(static_cast<std::uint32_t>(chunk.behind[begin]));
      for (std::size_t i = begin; i < end; ++i) {
        chunk.s1[i] = static_cast<float>(n.aa * double{chunk.s1[i]});
        chunk.s2[i] = static_cast<float>(n.bb * double{chunk.s2[i]});
      }
    }
  }
  [[gnu::always_inline]] inline void step(Chunk& chunk, const float* gradient) const noexcept {
    const auto size = chunk.size();
    const auto b1 = static_cast<float>(beta1), b2 = static_cast<float>(beta2);
    const auto c1 = static_cast<float>(1 - beta1), c2 = static_cast<float>(1 - beta2);
    // The bound keeps a below 2^100: an infinite one would make NaN of m = 0.
    const auto r = static_cast<float>(rate), e = std::max(static_cast<float>(epsilon), r * 0x1p-100F);
    const auto correction1 = static_cast<float>(1 / (1 - integer_power(beta1, t)));
    const auto correction2 = static_cast<float>(1 / (1 - integer_power(beta2, t)));
    const auto l1 = static_cast<float>(penalty.l1), l2 = static_cast<float>(penalty.l2);
    const bool plain = penalty.empty();
    for (std::size_t i = 0; i < size; ++i) {
      const float g = gradient[i];
      const float m = b1 * chunk.s1[i] + c1 * g;
      const float v = b2 * chunk.s2[i] + c2 * (g * g);
      const float a = r / (std::sqrt(v * correction2) + e);
      const float moved = chunk.w[i] - a * (m * correction1);
      chunk.s1[i] = m;
      chunk.s2[i] = v;
      chunk.w[i] = plain ? moved : prox(moved, a * l1, a * l2);
    }
  }
};

}  // namespace virga
