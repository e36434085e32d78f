#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "virga/training/safetensors.h"

namespace virga {

/// A list of texts, of any bytes, as two tensors: NAME.text (U8) holds them one after the other, NAME.offsets (I64, one
/// more than there are texts) where each begins and where the last ends.
struct TextTensors {
  std::vector<std::uint8_t> pool;
  std::vector<std::int64_t> offsets;
};

[[nodiscard]] TextTensors to_tensors(const std::vector<std::string>& texts);

/// Adds both under `name`; they look into `texts`.
void add_text_tensors(Safetensors& content, const std::string& name, const TextTensors& texts);

/// The list under `name`; empty if it is not there. Throws Error(kCorrupt), naming `what`.
[[nodiscard]] std::vector<std::string> read_texts(const Safetensors& content, const std::string& name,
                                                  std::string_view what);

/// The tensor of that name and type, of any shape. Throws Error(kCorrupt), naming `what`.
[[nodiscard]] const TensorView& require_tensor(const Safetensors& content, std::string_view name, ElementType type,
                                               std::string_view what);

}  // namespace virga
