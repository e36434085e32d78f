#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "virga/base/bytes.h"

namespace virga {

/// The safetensors format (https://huggingface.co/docs/safetensors): u64 length of the header, header, data; everything
/// little-endian. The header is a JSON object: name -> {"dtype", "shape", "data_offsets": [begin, end]} with offsets
/// into the data, and "__metadata__" -> {string: string}. The tensors fill the data without holes or overlaps.

/// The element types that models need; files with others are refused by name.
enum class ElementType : std::uint8_t { kU8, kU32, kI64, kF32, kF64 };

/// "U8", "F32", ...: as in the header.
[[nodiscard]] std::string_view to_string(ElementType type) noexcept;
/// Bytes of one element.
[[nodiscard]] std::size_t element_bytes(ElementType type) noexcept;

/// A named array, row-major. The bytes are somebody else's.
struct TensorView {
  std::string name;
  ElementType type = ElementType::kU8;
  std::vector<std::uint64_t> shape;  ///< empty: one element
  ByteView data;                     ///< need not be aligned
};

/// `data` as elements; copied, because the bytes of a file need not be aligned. Requires the element's size.
template <typename T>
[[nodiscard]] std::vector<T> elements(const TensorView& tensor) {
  check(sizeof(T) == element_bytes(tensor.type), "a tensor is read as elements of its own size");
  std::vector<T> values(tensor.data.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), tensor.data.data(), values.size() * sizeof(T));
  return values;
}

struct Safetensors {
  std::map<std::string, std::string, std::less<>> metadata;
  std::vector<TensorView> tensors;  ///< in the order of their bytes

  /// Null if there is none.
  [[nodiscard]] const TensorView* find(std::string_view name) const noexcept;
};

/// Bounds on what is read: a hostile file cannot ask for more memory than a small multiple of these.
constexpr std::uint64_t kMostHeaderBytes = std::uint64_t{16} << 20;  ///< the format itself allows 100 MB
constexpr std::size_t kMostDimensions = 8;
constexpr std::size_t kMostEntries = 4096;  ///< tensors, and likewise entries of the metadata

/// The file. Tensors are put in the order of falling element size, then name, and the header is padded with spaces to a
/// multiple of 8, so that all data is aligned: equal content gives equal bytes. Invalid UTF-8 in the metadata becomes
/// U+FFFD. Requires names that are unique, UTF-8 and not "__metadata__", data of the size that the shape says, and no
/// more of anything than is read. Throws Error(kTooLarge) when the header would exceed kMostHeaderBytes.
[[nodiscard]] Bytes encode_safetensors(const Safetensors& content);

/// The content of `bytes`, which the views look into. Throws Error(kCorrupt) for what the format does not allow,
/// duplicate keys included, and Error(kUnsupported) for element types and sizes beyond those above; both name `what`.
[[nodiscard]] Safetensors parse_safetensors(ByteView bytes, std::string_view what);
Safetensors parse_safetensors(Bytes&& bytes, std::string_view what) = delete;  // the views would outlive the bytes

}  // namespace virga
