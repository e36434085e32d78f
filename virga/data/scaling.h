#pragma once

#include "virga/batch/row_group.h"
#include "virga/data/encoding.h"

namespace virga {

/// Applies the set's scaling to a group that was just decoded: value = (value - offset) * factor for each explicit
/// entry, in f32. Values that are left out (all 1) stay left out if scaling leaves all of them 1. The keys (or columns)
/// of the group must be features of the encoding.
void scale(const Encoding& encoding, RowGroup& group);

/// The same for one value of a raw row.
[[nodiscard]] inline float scaled(const Encoding& encoding, std::uint32_t feature, float value) noexcept {
  const auto at = [&](const std::vector<float>& values, float otherwise) {
    return values.empty() ? otherwise : values.size() == 1 ? values.front() : values[feature];
  };
  return (value - at(encoding.scale_offset, 0)) * at(encoding.scale_factor, 1);
}

}  // namespace virga
