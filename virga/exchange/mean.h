#pragma once

#include <span>

namespace virga {

/// mean[i] = sum[i] / weight, of one size. Are all means finite?
[[nodiscard]] bool divide_finite(std::span<const float> sum, float weight, std::span<float> mean) noexcept;

}  // namespace virga
