#include "virga/training/safetensors.h"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/memory.h"

namespace virga {
namespace {

constexpr char kRemedy[] = "give a model that virga train has written; if it is one, copy it again";

using nlohmann::json;

constexpr std::string_view kMetadataKey = "__metadata__";

struct TypeName {
  ElementType type;
  std::string_view name;
  std::size_t bytes;
};
constexpr std::array<TypeName, 5> kTypes = {{{ElementType::kU8, "U8", 1},
                                             {ElementType::kU32, "U32", 4},
                                             {ElementType::kI64, "I64", 8},
                                             {ElementType::kF32, "F32", 4},
                                             {ElementType::kF64, "F64", 8}}};

/// Bytes of a tensor; nothing when that does not fit into 64 bits.
std::optional<std::uint64_t> tensor_bytes(ElementType type, const std::vector<std::uint64_t>& shape) {
  std::uint64_t bytes = element_bytes(type);
  for (const auto size : shape) {
    if (__builtin_mul_overflow(bytes, size, &bytes)) return std::nullopt;
  }
  return bytes;
}

/// Takes the header apart while it is parsed: its structure is fixed, so nothing is ever built that it does not allow.
class HeaderParser final : public nlohmann::json_sax<json> {
 public:
  struct Entry {
    TensorView tensor;
    std::optional<ElementType> type;
    std::optional<std::vector<std::uint64_t>> shape;
    std::optional<std::vector<std::uint64_t>> offsets;
  };

  explicit HeaderParser(std::string_view what) : what_(what) {}
  std::map<std::string, std::string, std::less<>> metadata;
  std::vector<Entry> entries;

  bool null() override { misplaced(); }
  bool boolean(bool /*value*/) override { misplaced(); }
  bool number_float(double /*value*/, const std::string& /*text*/) override { misplaced(); }
  bool binary(binary_t& /*value*/) override { misplaced(); }
  bool number_integer(std::int64_t /*value*/) override { misplaced(); }  // only negative ones come here

  bool number_unsigned(std::uint64_t value) override {
    if (place_ != Place::kNumbers) misplaced();
    if (numbers_->size() == kMostDimensions) {
      throw Error(ErrorKind::kUnsupported,
                  fmt::format("{}: tensor '{}' has more than {} dimensions", what_, name(), kMostDimensions));
    }
    numbers_->push_back(value);
    return true;
  }

  bool string(std::string& value) override {
    if (place_ == Place::kMetadata) {
      metadata[key_] = std::move(value);
    } else if (place_ == Place::kTensor && key_ == "dtype") {
      const auto* type = std::ranges::find(kTypes, value, &TypeName::name);
      if (type == kTypes.end()) {
        throw Error(ErrorKind::kUnsupported,
                    fmt::format("{}: tensor '{}' has elements of type '{}'", what_, name(), value),
                    "only U8, U32, I64, F32 and F64 are read");
      }
      entries.back().type = type->type;
    } else {
      misplaced();
    }
    return true;
  }

  bool start_object(std::size_t /*count*/) override {
    if (place_ == Place::kOutside && !ended_) {
      place_ = Place::kTop;
    } else if (place_ == Place::kTop) {
      place_ = key_ == kMetadataKey ? Place::kMetadata : Place::kTensor;
      if (place_ == Place::kTensor) entries.push_back({.tensor = {.name = key_}});
      keys_of_inner_.clear();
    } else {
      misplaced();
    }
    return true;
  }

  bool key(std::string& value) override {
    auto& seen = place_ == Place::kTop ? keys_of_top_ : keys_of_inner_;
    if (seen.size() == kMostEntries) {
      throw Error(ErrorKind::kUnsupported, fmt::format("{}: more than {} entries in the header", what_, kMostEntries));
    }
    if (!seen.insert(value).second) corrupt(fmt::format("'{}' stands twice in the header", value));
    if (place_ == Place::kTensor && value != "dtype" && value != "shape" && value != "data_offsets") {
      corrupt(fmt::format("tensor '{}' has an unknown field '{}'", name(), value));
    }
    key_ = std::move(value);
    return true;
  }

  bool end_object() override {
    if (place_ == Place::kTensor && (!entries.back().type || !entries.back().shape || !entries.back().offsets)) {
      corrupt(fmt::format("tensor '{}' lacks one of dtype, shape and data_offsets", name()));
    }
    ended_ = place_ == Place::kTop;
    place_ = ended_ ? Place::kOutside : Place::kTop;
    return true;
  }

  bool start_array(std::size_t /*count*/) override {
    if (place_ != Place::kTensor || key_ == "dtype") misplaced();
    auto& entry = entries.back();
    numbers_ = key_ == "shape" ? &entry.shape.emplace() : &entry.offsets.emplace();
    place_ = Place::kNumbers;
    return true;
  }

  bool end_array() override {
    place_ = Place::kTensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string& /*token*/, const json::exception& /*exception*/) override {
    corrupt(fmt::format("the header is not JSON at byte {}", position));
  }

 private:
  enum class Place { kOutside, kTop, kMetadata, kTensor, kNumbers };

  [[nodiscard]] const std::string& name() const { return entries.back().tensor.name; }
  [[noreturn]] void corrupt(const std::string& reason) const {
    throw Error(ErrorKind::kCorrupt, fmt::format("{} is not a valid safetensors file: {}", what_, reason), kRemedy);
  }
  [[noreturn]] void misplaced() const { corrupt(fmt::format("an unexpected value in the header, after '{}'", key_)); }

  const std::string_view what_;
  Place place_ = Place::kOutside;
  bool ended_ = false;
  std::string key_;
  std::set<std::string, std::less<>> keys_of_top_;
  std::set<std::string, std::less<>> keys_of_inner_;
  std::vector<std::uint64_t>* numbers_ = nullptr;  // what the numbers of the current array are added to
};

/// Checks an entry against the data and gives it its bytes.
TensorView place_tensor(HeaderParser::Entry& entry, ByteView data, std::string_view what) {
  auto tensor = std::move(entry.tensor);
  tensor.type = *entry.type;
  tensor.shape = std::move(*entry.shape);
  const auto& offsets = *entry.offsets;
  const auto wanted = tensor_bytes(tensor.type, tensor.shape);
  if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > data.size() || wanted != offsets[1] - offsets[0]) {
    throw Error(ErrorKind::kCorrupt,
                fmt::format("{} is not a valid safetensors file: the offsets of tensor '{}' do not fit its shape or "
                            "the {} bytes of data",
                            what, tensor.name, data.size()));
  }
  tensor.data = data.subspan(offsets[0], *wanted);
  return tensor;
}

/// The header's JSON, padded so that the data after it is aligned.
std::string header_text(const Safetensors& content, const std::vector<const TensorView*>& order) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!content.metadata.empty()) {
    auto& metadata = header[std::string(kMetadataKey)] = nlohmann::ordered_json::object();
    for (const auto& [key, value] : content.metadata) metadata[key] = value;
  }
  std::uint64_t offset = 0;
  for (const auto* tensor : order) {
    check(tensor->name != kMetadataKey && !header.contains(tensor->name), "tensors have names of their own");
    check(tensor_bytes(tensor->type, tensor->shape) == tensor->data.size(), "a tensor's data has its shape's size");
    auto& entry = header[tensor->name];
    entry["dtype"] = to_string(tensor->type);
    entry["shape"] = tensor->shape;
    entry["data_offsets"] = {offset, offset + tensor->data.size()};
    offset += tensor->data.size();
  }
  auto text = header.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace

std::string_view to_string(ElementType type) noexcept { return kTypes[static_cast<std::size_t>(type)].name; }
std::size_t element_bytes(ElementType type) noexcept { return kTypes[static_cast<std::size_t>(type)].bytes; }

const TensorView* Safetensors::find(std::string_view name) const noexcept {
  const auto found = std::ranges::find(tensors, name, &TensorView::name);
  return found == tensors.end() ? nullptr : &*found;
}

Bytes encode_safetensors(const Safetensors& content) {
  std::vector<const TensorView*> order;
  for (const auto& tensor : content.tensors) order.push_back(&tensor);
  std::ranges::sort(order, [](const TensorView* a, const TensorView* b) {
    return std::pair(element_bytes(b->type), std::string_view(a->name)) <
           std::pair(element_bytes(a->type), std::string_view(b->name));
  });
  check(order.size() + content.metadata.size() < kMostEntries, "a file has no more entries than are read");
  const auto header = header_text(content, order);
  if (header.size() > kMostHeaderBytes) {
    throw Error(ErrorKind::kTooLarge,
                fmt::format("a safetensors header of {} bytes; the limit is {}", header.size(), kMostHeaderBytes));
  }

  std::size_t size = sizeof(std::uint64_t) + header.size();
  for (const auto* tensor : order) size += tensor->data.size();
  Bytes bytes;
  bytes.reserve(size);
  populate(bytes.data(), size);
  ByteWriter writer(bytes);
  writer.put(std::uint64_t{header.size()});
  writer.put_span(as_bytes(header));
  for (const auto* tensor : order) writer.put_span(tensor->data);
  return bytes;
}

Safetensors parse_safetensors(ByteView bytes, std::string_view what) {
  const auto corrupt = [&](const std::string& reason) {
    return Error(ErrorKind::kCorrupt, fmt::format("{} is not a valid safetensors file: {}", what, reason), kRemedy);
  };
  if (bytes.size() < sizeof(std::uint64_t)) throw corrupt(fmt::format("it has only {} bytes", bytes.size()));
  ByteReader reader(bytes, what);
  const auto header_bytes = reader.get<std::uint64_t>();
  if (header_bytes > reader.remaining()) throw corrupt("it is cut off, or something else: the header does not fit");
  if (header_bytes > kMostHeaderBytes) {
    throw Error(ErrorKind::kUnsupported, fmt::format("{}: a safetensors header of {} bytes; at most {} are read", what,
                                                     header_bytes, kMostHeaderBytes));
  }
  const auto header = as_text(reader.take(header_bytes));
  if (!header.starts_with('{')) throw corrupt("the header does not begin with '{'");
  if (header.find('\0') != std::string_view::npos) throw corrupt("a zero byte in the header");  // would end the JSON
  HeaderParser parser(what);
  json::sax_parse(header, &parser);

  Safetensors content{.metadata = std::move(parser.metadata)};
  const auto data = reader.take(reader.remaining());
  for (auto& entry : parser.entries) content.tensors.push_back(place_tensor(entry, data, what));
  std::ranges::sort(content.tensors, {}, [](const TensorView& tensor) {
    return std::pair(tensor.data.data(), tensor.data.data() + tensor.data.size());
  });
  const auto* end = data.data();
  for (const auto& tensor : content.tensors) {
    if (tensor.data.data() != end) throw corrupt(fmt::format("a hole or an overlap before tensor '{}'", tensor.name));
    end += tensor.data.size();
  }
  if (end != data.data() + data.size()) throw corrupt("there is data after the last tensor");
  return content;
}

}  // namespace virga
