#include "virga/training/text_tensors.h"

#include <fmt/format.h>

namespace virga {

TextTensors to_tensors(const std::vector<std::string>& texts) {
  TextTensors tensors{.offsets = {0}};
  for (const auto& text : texts) {
    tensors.pool.insert(tensors.pool.end(), text.begin(), text.end());
    tensors.offsets.push_back(static_cast<std::int64_t>(tensors.pool.size()));
  }
  return tensors;
}

void add_text_tensors(Safetensors& content, const std::string& name, const TextTensors& texts) {
  content.tensors.push_back(
      {name + ".text", ElementType::kU8, {texts.pool.size()}, std::as_bytes(std::span(texts.pool))});
  content.tensors.push_back(
      {name + ".offsets", ElementType::kI64, {texts.offsets.size()}, std::as_bytes(std::span(texts.offsets))});
}

const TensorView& require_tensor(const Safetensors& content, std::string_view name, ElementType type,
                                 std::string_view what) {
  const auto* tensor = content.find(name);
  if (tensor == nullptr) throw Error(ErrorKind::kCorrupt, fmt::format("{}: there is no tensor '{}'", what, name));
  if (tensor->type != type) {
    throw Error(ErrorKind::kCorrupt, fmt::format("{}: tensor '{}' is of type {}, not {}", what, name,
                                                 to_string(tensor->type), to_string(type)));
  }
  return *tensor;
}

std::vector<std::string> read_texts(const Safetensors& content, const std::string& name, std::string_view what) {
  if (content.find(name + ".text") == nullptr && content.find(name + ".offsets") == nullptr) return {};
  const auto pool = as_text(require_tensor(content, name + ".text", ElementType::kU8, what).data);
  const auto offsets = elements<std::int64_t>(require_tensor(content, name + ".offsets", ElementType::kI64, what));
  const auto end = static_cast<std::int64_t>(pool.size());
  if (offsets.empty() || offsets.front() != 0 || offsets.back() != end) {
    throw Error(ErrorKind::kCorrupt, fmt::format("{}: '{}.offsets' does not span '{}.text'", what, name, name));
  }
  std::vector<std::string> texts;
  texts.reserve(offsets.size() - 1);
  for (std::size_t i = 1; i < offsets.size(); ++i) {
    if (offsets[i] < offsets[i - 1] || offsets[i] > end) {
      throw Error(ErrorKind::kCorrupt, fmt::format("{}: '{}.offsets' does not ascend", what, name));
    }
    texts.emplace_back(
        pool.substr(static_cast<std::size_t>(offsets[i - 1]), static_cast<std::size_t>(offsets[i] - offsets[i - 1])));
  }
  return texts;
}

}  // namespace virga
