#include <cstdlib>
#include <span>

#include "virga/training/safetensors.h"

/// What is read is written and read again unchanged; all else is an Error.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace virga;
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const auto content = parse_safetensors(bytes, "input");
    const auto again_bytes = encode_safetensors(content);
    const auto again = parse_safetensors(again_bytes, "again");
    check(again.metadata == content.metadata && again.tensors.size() == content.tensors.size(), "nothing is lost");
    for (const auto& tensor : content.tensors) {
      const auto* copy = again.find(tensor.name);
      check(copy != nullptr && copy->type == tensor.type && copy->shape == tensor.shape &&
                as_text(copy->data) == as_text(tensor.data),
            "a tensor is read back as it was written");
    }
  } catch (const Error& error) {
    check(error.kind() == ErrorKind::kCorrupt || error.kind() == ErrorKind::kUnsupported,
          "the kinds that are promised");
  }
  return 0;
}
