#pragma once

#include <cstdint>

namespace virga {

/// What a run does where the user says nothing. The figures and what they were chosen over:
/// docs/experiments/defaults.md.

/// Rows of a step over all workers. Below 400,000 rows max(16, 2^floor(log2(rows / 400))): small sets need many steps
/// to converge in 20 epochs. From there on min(8000, 1000 * 2^floor(log2(rows / 100,000))): large sets converge with
/// fewer, which cost less each row, and whole groups of 1,000 rows need no cutting.
[[nodiscard]] std::uint32_t default_batch_size(std::uint64_t training_rows) noexcept;

/// AdaGrad's epsilon, added to the accumulator inside the root: 0.1 / batch_size^2, because a rare feature's mean
/// gradient is of the order of 1 / batch_size.
[[nodiscard]] double default_adagrad_epsilon(std::uint64_t batch_size) noexcept;

/// What AdaGrad's accumulators are multiplied by after epoch `epoch` (from 0): ((epoch + 1) / (epoch + 2))^3, so that
/// the squares of epoch k weigh (k + 1)^3. Plain AdaGrad remembers the large first gradients for good.
[[nodiscard]] double default_adagrad_decay(std::uint32_t epoch) noexcept;

/// ADMM's rho, by the penalty: 0.1 sqrt(l2), with an l2 of at least 1e-6. A gradient method's best step goes by the
/// root of strongest times weakest curvature; the weakest is about l2.
[[nodiscard]] double default_admm_rho(double l2) noexcept;

}  // namespace virga
