#include "virga/training/defaults.h"

#include <algorithm>
#include <bit>

namespace virga {

std::uint32_t default_batch_size(std::uint64_t training_rows) noexcept {
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(std::bit_floor(training_rows / 400), 16, 4096));
}

double default_adagrad_epsilon(std::uint64_t batch_size) noexcept {
  const auto size = static_cast<double>(batch_size);
  return 0.1 / (size * size);
}

double default_adagrad_decay(std::uint32_t epoch) noexcept {
  const double ratio = (epoch + 1.0) / (epoch + 2.0);
  return ratio * ratio * ratio;
}

}  // namespace virga
