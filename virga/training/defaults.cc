#include "virga/training/defaults.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace virga {

std::uint32_t default_batch_size(std::uint64_t training_rows) noexcept {
  const auto size = training_rows < 400'000
                        ? std::max<std::uint64_t>(std::bit_floor(training_rows / 400), 16)
                        : std::min<std::uint64_t>(1000 * std::bit_floor(training_rows / 100'000), 8000);
  return static_cast<std::uint32_t>(size);
}

double default_adagrad_epsilon(std::uint64_t batch_size) noexcept {
  const auto size = static_cast<double>(batch_size);
  return 0.1 / (size * size);
}

double default_adagrad_decay(std::uint32_t epoch) noexcept {
  const double ratio = (epoch + 1.0) / (epoch + 2.0);
  return ratio * ratio * ratio;
}

double default_admm_rho(double l2) noexcept {
  constexpr double kLeast = 1e-6;
  return 0.1 * std::sqrt(std::max(l2, kLeast));
}

}  // namespace virga
